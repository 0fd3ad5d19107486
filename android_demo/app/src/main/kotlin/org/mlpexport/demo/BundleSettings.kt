package org.mlpexport.demo

import android.content.Context
import org.mlpexport.core.GenerationSettings

/** What the user set for each bundle, by the bundle's name. */
class BundleSettings(context: Context) {
    private val store = context.getSharedPreferences("bundles", Context.MODE_PRIVATE)

    operator fun get(bundle: String) = GenerationSettings(
        systemPrompt = store.getString("$bundle/$SYSTEM", DEFAULT.systemPrompt),
        temperature = store.getFloat("$bundle/$TEMPERATURE", DEFAULT.temperature),
        maxNewTokens = store.getInt("$bundle/$MAX_TOKENS", DEFAULT.maxNewTokens),
    )

    operator fun set(bundle: String, settings: GenerationSettings) {
        store.edit()
            .putString("$bundle/$SYSTEM", settings.systemPrompt)
            .putFloat("$bundle/$TEMPERATURE", settings.temperature)
            .putInt("$bundle/$MAX_TOKENS", settings.maxNewTokens)
            .apply()
    }

    /** Back to the defaults, as for a bundle that was deleted. */
    fun forget(bundle: String) {
        store.edit()
            .remove("$bundle/$SYSTEM")
            .remove("$bundle/$TEMPERATURE")
            .remove("$bundle/$MAX_TOKENS")
            .apply()
    }

    private companion object {
        const val SYSTEM = "system"
        const val TEMPERATURE = "temperature"
        const val MAX_TOKENS = "max_tokens"
        val DEFAULT = GenerationSettings()
    }
}
