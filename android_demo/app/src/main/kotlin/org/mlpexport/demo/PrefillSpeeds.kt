package org.mlpexport.demo

import android.content.Context

/** How fast each bundle's prompts were read on this phone, in tokens per second. */
class PrefillSpeeds(context: Context) {
    private val store = context.getSharedPreferences("speeds", Context.MODE_PRIVATE)

    /** Null until a prompt was long enough to tell. */
    operator fun get(bundle: String): Double? = store.getFloat(bundle, 0f).takeIf { it > 0 }?.toDouble()

    /** Learns from each answer. */
    fun follow(models: ModelHost) {
        models.observe { state ->
            if (state is ModelHost.State.Done) {
                val statistics = state.answer.statistics
                val speed = statistics.prefillTokensPerSecond
                if (speed != null && statistics.promptTokens >= ENOUGH) {
                    store.edit().putFloat(state.request.bundle.folder.name, speed.toFloat()).apply()
                }
            }
        }
    }

    private companion object {
        // Fewer tokens are one call, whose time is mostly not theirs.
        const val ENOUGH = 64
    }
}
