package org.mlpexport.demo

import android.content.SharedPreferences
import org.mlpexport.core.Bundle
import java.io.IOException

/** Which licenses were accepted on this phone. One is known by its text's hash: another text is asked for again. */
class Licenses(private val store: SharedPreferences) {
    fun accepted(bundle: Bundle) = store.getBoolean(key(bundle), false)

    fun accept(bundle: Bundle) = store.edit().putBoolean(key(bundle), true).apply()

    private fun key(bundle: Bundle) = "license ${bundle.manifest.model.id} ${bundle.manifest.files["LICENSE"]?.sha256}"

    companion object {
        // Screens of plain text; more is no license.
        private const val MAX_BYTES = 1 shl 20

        /** The license's text, null if the file is gone. */
        fun text(bundle: Bundle): String? = try {
            bundle.license.inputStream().use { it.readAtMost(MAX_BYTES) }.decodeToString()
        } catch (_: IOException) {
            null
        }
    }
}
