package org.mlpexport.demo

import android.app.Application

/** Holds what outlives Activities. Tests override [loader] to put a fake engine in. */
open class MlpApplication : Application() {
    val models by lazy { ModelHost(loader()) }

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
