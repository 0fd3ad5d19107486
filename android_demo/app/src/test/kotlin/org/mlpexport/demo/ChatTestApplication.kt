package org.mlpexport.demo

import org.mlpexport.core.Bundle
import org.mlpexport.core.EngineFactory
import org.mlpexport.core.FakeEngine
import org.mlpexport.core.Tokenizer
import org.mlpexport.core.WordTokenizer
import java.io.File
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch

/** The application with scripted engines, and a bundle "demo" of 128 tokens' context. */
class ChatTestApplication : MlpApplication() {
    val root by lazy { File(filesDir, "bundles").apply { mkdirs() } }

    /** Given to the next model that is loaded. */
    var engine = FakeEngine(context = 128)

    /** What was made, in order. */
    val made = CopyOnWriteArrayList<Bundle>()

    override fun engines() = EngineFactory { bundle ->
        made += bundle
        engine
    }

    override fun openTokenizer(bundle: Bundle): Tokenizer = WordTokenizer()

    /** Holds up what looks at the storage. */
    @Volatile var looking = CountDownLatch(0)

    override fun device() = TestBundles.S24.also { looking.await() }

    override fun bundleRoots() = listOf(BundleRoot(BundleSource.IMPORTED, root))

    fun writeBundle(name: String, context: Int = 128) = TestBundles.write(root, name) {
        it.addProperty("context", context)
        it.addProperty("prefill_chunk", 16)
    }
}
