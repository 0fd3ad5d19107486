package org.mlpexport.core

import kotlin.math.ceil

/** Estimates, for tokenizers that are not read exactly: of European text within about a third. */
internal class EstimatingTokenizer(private val added: AddedTokens, override val inexactBecause: String) : Tokenizer {
    override fun count(text: String): TokenCount {
        val tokens =
            added.split(text).sumOf { (range, token) -> if (token != null) 1 else estimate(text.substring(range)) }
        return TokenCount(tokens, exact = false)
    }

    override fun tokensBefore(rest: String, whole: String) = count(whole.dropLast(rest.length))

    override fun specialIn(message: String): String? = added.special(message)

    override fun spelling(id: Int): String? = added.spelling(id)

    override fun slices(text: String, size: Int): List<String> {
        val slices = ArrayList<String>()
        var start = 0
        while (true) {
            val end = cut(text, start + (size * LETTERS_PER_TOKEN).toInt()) ?: break
            slices += text.substring(start, end)
            start = end
        }
        return slices + text.substring(start)
    }

    /** The first place from [from] on where a word follows a word: all pre-tokenizers split there. */
    private fun cut(text: String, from: Int): Int? =
        (maxOf(from, 1) until text.length - 1).firstOrNull {
            text[it] == ' ' && text[it - 1].isLetter() && text[it + 1].isLetter()
        }

    /** English has 4 to 4.5 letters a token in vocabularies of 50k to 200k; other scripts nearer to one. */
    private fun estimate(text: String): Int {
        val ascii = text.count { it.code < 0x80 }
        return ceil(ascii / LETTERS_PER_TOKEN + (text.codePointCount(0, text.length) - ascii)).toInt()
    }

    private companion object {
        const val LETTERS_PER_TOKEN = 4.0
    }
}
