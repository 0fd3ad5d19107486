package org.mlpexport.core

import com.google.gson.JsonElement
import com.google.gson.JsonObject
import java.text.Normalizer
import java.util.regex.Matcher

/** What a tokenizer.json's `normalizer` makes of a text. Throws [UnknownTokenizerException]. */
internal fun normalizer(json: JsonElement): (String) -> String {
    if (json.isJsonNull) return { it }
    val values = json.asJsonObject
    return when (val type = values.text("type")) {
        "Sequence" -> {
            val steps = values.getAsJsonArray("normalizers").map(::normalizer)
            ({ text -> steps.fold(text) { changed, step -> step(changed) } })
        }
        "NFC", "NFD", "NFKC", "NFKD" -> {
            val form = Normalizer.Form.valueOf(type)
            ({ Normalizer.normalize(it, form) })
        }
        "Prepend" -> {
            val prefix = values.text("prepend")
            ({ if (it.isEmpty()) it else prefix + it })
        }
        "Replace" -> replace(values)
        else -> throw UnknownTokenizerException("the normalizer $type is not known")
    }
}

private fun replace(values: JsonObject): (String) -> String {
    val new = values.text("content")
    val source = values.getAsJsonObject("pattern")
    if (source.has("Regex")) {
        val pattern = tokenizerPattern(source.text("Regex"))
        // Engines differ in what lies between two matches of nothing.
        if (pattern.matcher("").find()) throw UnknownTokenizerException("a Replace of nothing is not known")
        val quoted = Matcher.quoteReplacement(new)
        return { pattern.matcher(it).replaceAll(quoted) }
    }
    val old = source.text("String")
    return { it.replace(old, new) }
}
