package org.mlpexport.demo

import android.app.Application
import org.mlpexport.core.Device

/** Holds what outlives Activities. Tests override [loader] to put a fake engine in. */
open class MlpApplication : Application() {
    val models by lazy { ModelHost(loader()) }

    private val services by lazy { BundleServices(this, bundleRoots(), ::device) }
    private val deviceInfo by lazy { DeviceInfo(this) }

    val bundles get() = services.repository
    val library get() = services.library
    val licenses get() = services.licenses

    /** Takes long the first time: not on the main thread. */
    open fun device(): Device = deviceInfo.read()

    protected open fun bundleRoots(): List<BundleRoot> = BundleServices.roots(this)

    protected open fun loader(): ModelLoader = error("no loader")

    override fun onCreate() {
        super.onCreate()
        GenerationService.follow(this, models)
    }

    /** In the background an idle model is the most memory for the least use: it loads again within seconds. */
    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        if (level >= TRIM_MEMORY_BACKGROUND && !models.busy) models.unload()
    }
}
