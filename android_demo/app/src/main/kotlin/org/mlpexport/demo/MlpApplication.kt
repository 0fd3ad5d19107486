package org.mlpexport.demo

import android.app.Application
import android.os.Build
import org.mlpexport.core.Bundle
import org.mlpexport.core.ConversationStore
import org.mlpexport.core.Device
import org.mlpexport.core.Engine
import org.mlpexport.core.EngineFactory
import org.mlpexport.core.Tokenizer
import org.mlpexport.demo.engine.ExecuTorchEngine
import org.mlpexport.demo.engine.PackedWeights
import java.io.File
import java.util.concurrent.Executors

/** Holds what outlives Activities. Tests override [engines] and [bundleRoots] to put fakes in. */
open class MlpApplication : Application() {
    private val services by lazy { BundleServices(this, bundleRoots(), packedWeights, ::device) }
    private val deviceInfo by lazy { DeviceInfo(this) }

    val bundles get() = services.repository
    val library get() = services.library
    val licenses get() = services.licenses
    val choice by lazy { ModelChoice(this) }
    val speeds by lazy { PrefillSpeeds(this) }
    val settings by lazy { BundleSettings(this) }
    val windows by lazy { ContextWindows(this) }
    val conversations by lazy { ConversationStore(conversationsFolder()) }
    val models by lazy { ModelHost(engines(), ::tokenizer, ::residentBytes) }
    val chats by lazy { Chats(conversations, models, settings, windows) }

    /** For files. In order, one at a time. */
    val background by lazy { thread("background") }

    /** A thread of its own, as the first count reads the tokenizer: seconds. */
    val counting by lazy { thread("counting") }
    val counter by lazy { ContextCounter(::tokenizer, counting) }

    /** In the cache: they are made again where the system deletes them. */
    val packedWeights by lazy {
        val runtime = File(applicationInfo.nativeLibraryDir, "libexecutorch.so")
        val apks = (listOfNotNull(applicationInfo.sourceDir) + applicationInfo.splitSourceDirs.orEmpty()).map(::File)
        PackedWeights(File(cacheDir, "packed"), runtime, apks, Build.SUPPORTED_ABIS.toList())
    }

    private val tokenizers = object : LinkedHashMap<Bundle, Tokenizer>() {
        // One only: a large vocabulary is megabytes.
        override fun removeEldestEntry(eldest: Map.Entry<Bundle, Tokenizer>) = size > 1
    }

    /** Takes long the first time: not on the main thread. */
    open fun device(): Device = deviceInfo.read()

    protected open fun bundleRoots(): List<BundleRoot> = BundleServices.roots(this)

    protected open fun conversationsFolder() = File(filesDir, "conversations")

    /** Makes an engine apart from [models]. */
    fun newEngine(bundle: Bundle): Engine = engines().create(bundle)

    protected open fun engines(): EngineFactory =
        EngineFactory { bundle -> ExecuTorchEngine(bundle, applicationInfo.nativeLibraryDir, packedWeights) }

    /** Reads the file the first time: not for the main thread. */
    fun tokenizer(bundle: Bundle): Tokenizer = synchronized(tokenizers) {
        tokenizers.getOrPut(bundle) { openTokenizer(bundle) }
    }

    protected open fun openTokenizer(bundle: Bundle): Tokenizer = Tokenizer.open(bundle.tokenizer)

    private fun thread(name: String) = Executors.newSingleThreadExecutor { Thread(it, name).apply { isDaemon = true } }

    override fun onCreate() {
        super.onCreate()
        GenerationService.follow(this, models)
        speeds.follow(models)
    }

    /** In the background an idle model is the most memory for the least use: it loads again within seconds. */
    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        if (level >= TRIM_MEMORY_BACKGROUND && !models.busy) models.unload()
    }
}
