package org.mlpexport.demo

import android.content.Context

/** Which model answers where a screen was not opened for one: the one that was used last, else the first that runs. */
class ModelChoice(context: Context) {
    private val store = context.getSharedPreferences("choice", Context.MODE_PRIVATE)

    fun used(bundle: String) = store.edit().putString(BUNDLE, bundle).apply()

    /** Null where no bundle can be opened. */
    fun choose(snapshot: BundleLibrary.Snapshot): BundleLibrary.Item? {
        val last = store.getString(BUNDLE, null)
        return candidates(snapshot).let { all -> all.find { it.entry.name == last } ?: all.firstOrNull() }
    }

    fun candidates(snapshot: BundleLibrary.Snapshot): List<BundleLibrary.Item> =
        snapshot.items.orEmpty().filter { it.canOpen }

    private companion object {
        const val BUNDLE = "bundle"
    }
}
