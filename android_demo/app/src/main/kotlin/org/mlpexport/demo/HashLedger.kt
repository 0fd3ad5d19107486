package org.mlpexport.demo

import com.google.gson.JsonElement
import com.google.gson.JsonNull
import com.google.gson.JsonObject
import com.google.gson.JsonParseException
import com.google.gson.JsonParser
import com.google.gson.JsonPrimitive
import org.mlpexport.core.Bundle
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** What is known of a bundle's hashes. */
sealed interface HashState {
    data object Unchecked : HashState

    data object Checked : HashState

    data class Wrong(val file: String) : HashState
}

/**
 * Remembers which bundles' hashes were checked, so that a model is read once and not at each start. A bundle is known
 * by the sizes, times and expected hashes of its files: if one changes, it counts as unchecked. [file] is a copy for the
 * next start: where it cannot be written, as on a full phone, what is known holds until then.
 */
class HashLedger(private val file: File) {
    private val lock = Any()
    private val known by lazy(::read)

    fun state(bundle: Bundle): HashState {
        val entry = synchronized(lock) { known.get(bundle.folder.path) } as? JsonObject ?: return HashState.Unchecked
        if (entry.text("identity") != identity(bundle)) return HashState.Unchecked
        return entry.text("wrong")?.let(HashState::Wrong) ?: HashState.Checked
    }

    /** Keeps the outcome of a check; [wrong] is the file whose hash differs, null if none does. */
    fun record(bundle: Bundle, wrong: String?) = change {
        it.add(
            bundle.folder.path,
            JsonObject().apply {
                addProperty("identity", identity(bundle))
                add("wrong", wrong?.let(::JsonPrimitive) ?: JsonNull.INSTANCE)
            },
        )
    }

    fun forget(folder: File) = change { it.remove(folder.path) }

    private fun change(edit: (JsonObject) -> Unit) = synchronized(lock) {
        edit(known)
        val temporary = File(file.path + ".new")
        try {
            FileOutputStream(temporary).use {
                it.write(known.toString().toByteArray())
                it.fd.sync()
            }
            if (!temporary.renameTo(file)) temporary.delete()
        } catch (_: IOException) {
            temporary.delete() // a full disk costs another check at the next start, nothing else
        }
    }

    private fun read(): JsonObject = try {
        JsonParser.parseString(file.readText()) as? JsonObject ?: JsonObject()
    } catch (_: IOException) {
        JsonObject()
    } catch (_: JsonParseException) {
        JsonObject()
    }

    /** Changes if a file of the bundle does, or what is expected of it. */
    fun identity(bundle: Bundle): String = bundle.manifest.files.entries.sortedBy { it.key }.joinToString("\n") {
        val file = File(bundle.folder, it.key)
        "${it.key} ${file.length()} ${file.lastModified()} ${it.value.sha256}"
    }

    private fun JsonObject.text(key: String) =
        get(key)?.takeIf { it.isJsonPrimitive }?.let(JsonElement::getAsString)
}
