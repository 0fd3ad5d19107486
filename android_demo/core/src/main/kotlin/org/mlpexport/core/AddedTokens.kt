package org.mlpexport.core

import com.google.gson.JsonObject

/** An entry of `added_tokens`: a text that is one token before the text around it is looked at. */
internal data class AddedToken(
    val id: Int,
    val content: String,
    val singleWord: Boolean,
    val takesSpaceBefore: Boolean,
    val takesSpaceAfter: Boolean,
    val normalized: Boolean,
    val special: Boolean,
) {
    companion object {
        fun of(json: JsonObject) =
            AddedToken(
                id = json.get("id").asInt,
                content = json.get("content").asString,
                singleWord = json.flag("single_word"),
                takesSpaceBefore = json.flag("lstrip"),
                takesSpaceAfter = json.flag("rstrip"),
                normalized = json.flag("normalized"),
                special = json.flag("special"),
            )

        private fun JsonObject.flag(name: String) = get(name)?.asBoolean ?: false
    }
}

/** Finds added tokens in a text: leftmost, and of those the longest. */
internal class AddedTokens(all: List<AddedToken>) {
    private val byFirst = all.filter { it.content.isNotEmpty() }.groupBy { it.content[0] }
    private val byLength = byFirst.mapValues { (_, some) -> some.sortedByDescending { it.content.length } }
    private val spellings = all.associate { it.id to it.content }

    fun spelling(id: Int): String? = spellings[id]

    /** The first special token in [text]. */
    fun special(text: String): String? =
        text.indices.firstNotNullOfOrNull { at -> at(text, at).firstOrNull { it.special } }?.content

    /** [text] as ranges, with the token that is there or null. */
    fun split(text: String): List<Pair<IntRange, AddedToken?>> {
        val result = ArrayList<Pair<IntRange, AddedToken?>>()
        var done = 0
        var at = 0
        while (at < text.length) {
            val token = at(text, at).firstOrNull()
            if (token == null) {
                at++
                continue
            }
            var start = at
            var end = at + token.content.length
            at = end
            if (token.singleWord && (isWordBefore(text, start) || isWordAfter(text, end))) continue
            if (token.takesSpaceBefore) while (start > done && isUnicodeSpace(text[start - 1])) start--
            if (token.takesSpaceAfter) while (end < text.length && isUnicodeSpace(text[end])) end++
            if (start > done) result += (done until start) to null
            result += (start until end) to token
            done = end
            at = end
        }
        if (done < text.length) result += (done until text.length) to null
        return result
    }

    /** Tokens that [text] has at [at], the longest first. */
    private fun at(text: String, at: Int): List<AddedToken> {
        val candidates = byLength[text[at]] ?: return emptyList()
        return candidates.filter { text.startsWith(it.content, at) }
    }

    private fun isWordBefore(text: String, at: Int) = at > 0 && isWord(text.codePointBefore(at))

    private fun isWordAfter(text: String, at: Int) = at < text.length && isWord(text.codePointAt(at))

    private fun isWord(codePoint: Int) = Character.isLetterOrDigit(codePoint) || codePoint == '_'.code
}
