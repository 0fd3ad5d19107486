package org.mlpexport.core

import com.google.gson.JsonElement
import com.google.gson.JsonObject
import java.util.regex.Pattern

/** A part of a text that no merge leaves. [start] is where it is in the text; [text] is in the model's alphabet. */
internal data class Piece(val start: Int, val text: String)

/** A step that splits pieces, or changes their alphabet. */
internal fun interface PreTokenizer {
    /** [isFirst]: [piece] begins the whole text. */
    fun split(piece: Piece, isFirst: Boolean): List<Piece>

    companion object {
        /** Throws [UnknownTokenizerException]. */
        fun of(json: JsonElement): PreTokenizer {
            if (json.isJsonNull) return PreTokenizer { piece, _ -> listOf(piece) }
            val values = json.asJsonObject
            return when (val type = values.text("type")) {
                "Sequence" -> Steps(values.getAsJsonArray("pretokenizers").map(::of))
                "ByteLevel" -> ByteLevel(values.flag("add_prefix_space", true), values.flag("use_regex", true))
                "Digits" -> digits(values.flag("individual_digits", false))
                "Split" -> split(values)
                "Metaspace" -> Metaspace.of(values)
                else -> throw UnknownTokenizerException("the pre-tokenizer $type is not known")
            }
        }

        private fun digits(individual: Boolean) =
            PatternSplit(Pattern.compile("\\p{N}"), if (individual) "Isolated" else "Contiguous", inverted = false)

        private fun split(values: JsonObject): PreTokenizer {
            val pattern = values.getAsJsonObject("pattern")
            val compiled =
                if (pattern.has("Regex")) {
                    tokenizerPattern(pattern.text("Regex"))
                } else {
                    Pattern.compile(Pattern.quote(pattern.text("String")))
                }
            return PatternSplit(compiled, values.text("behavior"), values.flag("invert", false))
        }
    }
}

internal fun JsonObject.text(name: String): String =
    get(name)?.takeIf { it.isJsonPrimitive }?.asString ?: throw UnknownTokenizerException("$name is missing")

internal fun JsonObject.flag(name: String, default: Boolean): Boolean =
    get(name)?.takeIf { !it.isJsonNull }?.asBoolean ?: default

private class Steps(private val steps: List<PreTokenizer>) : PreTokenizer {
    override fun split(piece: Piece, isFirst: Boolean): List<Piece> =
        steps.fold(listOf(piece)) { pieces, step ->
            pieces.flatMapIndexed { index, part -> step.split(part, isFirst && index == 0) }
        }
}

/** Splits where a pattern matches; [behavior] says what becomes of the matches. */
private class PatternSplit(
    private val pattern: Pattern,
    private val behavior: String,
    private val inverted: Boolean,
) : PreTokenizer {
    init {
        if (behavior !in BEHAVIORS) throw UnknownTokenizerException("the behavior $behavior of Split is not known")
    }

    override fun split(piece: Piece, isFirst: Boolean): List<Piece> {
        val parts = ArrayList<Pair<IntRange, Boolean>>()
        val matcher = pattern.matcher(piece.text)
        var done = 0
        while (matcher.find()) {
            if (matcher.start() > done) parts += (done until matcher.start()) to inverted
            if (matcher.end() > matcher.start()) parts += (matcher.start() until matcher.end()) to !inverted
            done = matcher.end()
        }
        if (done < piece.text.length) parts += (done until piece.text.length) to inverted
        return ranges(parts).map { Piece(piece.start + it.first, piece.text.substring(it)) }
    }

    private fun ranges(parts: List<Pair<IntRange, Boolean>>): List<IntRange> =
        when (behavior) {
            "Isolated" -> parts.map { it.first }
            "Removed" -> parts.filter { !it.second }.map { it.first }
            "Contiguous" -> joined(parts) { before, part -> before == part }
            "MergedWithPrevious" -> joined(parts) { before, part -> part && !before }
            else -> joined(parts) { before, part -> before && !part }
        }

    /** Ranges, where those two neighbours are one of which [joins] says so. */
    private fun joined(parts: List<Pair<IntRange, Boolean>>, joins: (Boolean, Boolean) -> Boolean): List<IntRange> {
        val result = ArrayList<IntRange>()
        parts.forEachIndexed { index, (range, isMatch) ->
            if (index > 0 && joins(parts[index - 1].second, isMatch)) {
                result[result.size - 1] = result.last().first..range.last
            } else {
                result += range
            }
        }
        return result
    }

    private companion object {
        val BEHAVIORS = setOf("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext")
    }
}

/** GPT-2's: words by its pattern, then each byte of UTF-8 as a printable character. */
private class ByteLevel(private val addsPrefixSpace: Boolean, usesPattern: Boolean) : PreTokenizer {
    private val words = if (usesPattern) PatternSplit(GPT2_WORDS, "Isolated", inverted = false) else null

    override fun split(piece: Piece, isFirst: Boolean): List<Piece> {
        val adds = addsPrefixSpace && !piece.text.startsWith(' ')
        val spaced = if (adds) Piece(piece.start - 1, " ${piece.text}") else piece
        val parts = words?.split(spaced, isFirst) ?: listOf(spaced)
        return parts.map { Piece(maxOf(it.start, piece.start), inByteAlphabet(it.text)) }
    }

    private fun inByteAlphabet(text: String): String {
        val bytes = text.toByteArray()
        return String(CharArray(bytes.size) { ALPHABET[bytes[it].toInt() and 0xFF] })
    }

    private companion object {
        val GPT2_WORDS =
            tokenizerPattern(
                """'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
            )

        /** Printable bytes of Latin-1 are themselves, the others follow from U+0100 on. */
        val ALPHABET =
            run {
                var next = 0x100
                val printable = (33..126) + (161..172) + (174..255)
                CharArray(256) { if (it in printable) it.toChar() else (next++).toChar() }
            }
    }
}

/** SentencePiece's: a space is a visible character, which begins a word. */
private class Metaspace(
    private val space: String,
    private val prepends: (isFirst: Boolean) -> Boolean,
    private val splits: Boolean,
) : PreTokenizer {
    private val words = PatternSplit(Pattern.compile(Pattern.quote(space)), "MergedWithNext", inverted = false)

    override fun split(piece: Piece, isFirst: Boolean): List<Piece> {
        val text = piece.text.replace(" ", space)
        val adds = prepends(isFirst) && !text.startsWith(space)
        val whole = if (adds) Piece(piece.start - space.length, space + text) else Piece(piece.start, text)
        val parts = if (splits) words.split(whole, isFirst) else listOf(whole)
        return parts.map { Piece(maxOf(it.start, piece.start), it.text) }
    }

    companion object {
        fun of(values: JsonObject): Metaspace {
            val oldScheme = if (values.flag("add_prefix_space", true)) "always" else "never"
            val scheme = if (values.has("prepend_scheme")) values.text("prepend_scheme") else oldScheme
            val prepends: (Boolean) -> Boolean =
                when (scheme) {
                    "always" -> { _ -> true }
                    "first" -> { isFirst -> isFirst }
                    "never" -> { _ -> false }
                    else -> throw UnknownTokenizerException("the prepend_scheme $scheme is not known")
                }
            return Metaspace(values.text("replacement"), prepends, values.flag("split", true))
        }
    }
}
