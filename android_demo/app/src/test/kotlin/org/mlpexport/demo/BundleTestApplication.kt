package org.mlpexport.demo

import org.mlpexport.core.Bundle
import org.mlpexport.core.EngineFactory
import org.mlpexport.core.FakeEngine
import org.mlpexport.core.Tokenizer
import org.mlpexport.core.WordTokenizer
import java.io.File

/** The application on a phone that the test chooses, with folders and an engine of its own. */
class BundleTestApplication : MlpApplication() {
    @Volatile var phone = TestBundles.S24

    @Volatile var engine = FakeEngine(context = 2048)

    val imported by lazy { File(filesDir, "bundles").apply { mkdirs() } }
    val pushed by lazy { File(cacheDir, "pushed").apply { mkdirs() } }

    override fun device() = phone

    public override fun bundleRoots() =
        listOf(BundleRoot(BundleSource.IMPORTED, imported), BundleRoot(BundleSource.PUSHED, pushed))

    override fun engines() = EngineFactory { engine }

    override fun openTokenizer(bundle: Bundle): Tokenizer = WordTokenizer()
}
