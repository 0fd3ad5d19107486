package org.mlpexport.core

import java.util.regex.Pattern
import java.util.regex.PatternSyntaxException

/**
 * A regular expression of a tokenizer.json (Oniguruma's syntax) for java.util.regex, which is ICU's on Android: classes
 * whose meaning differs between the three are written out. Throws [UnknownTokenizerException] for what is not known to
 * be the same in all.
 */
internal fun tokenizerPattern(source: String): Pattern {
    val result = StringBuilder()
    var depth = 0 // of character classes
    var at = 0
    while (at < source.length) {
        val character = source[at]
        when {
            character == '\\' -> {
                val escaped = source.getOrNull(at + 1) ?: throw unknown(source)
                result.append(escape(escaped, depth > 0) ?: throw unknown(source))
                at++
            }
            source.startsWith("[:", at) && depth > 0 -> throw unknown(source)
            source.startsWith("(?i:", at) && depth == 0 -> {
                result.append("(?iu:")
                at += "(?i:".length - 1
            }
            character == '(' && source.getOrNull(at + 1) == '?' && depth == 0 -> {
                if (GROUPS.none { source.startsWith(it, at) }) throw unknown(source)
                result.append(character)
            }
            (character == '^' || character == '$') && depth == 0 -> throw unknown(source)
            else -> {
                if (character == '[') depth++
                if (character == ']') depth--
                result.append(character)
            }
        }
        at++
    }
    return try {
        Pattern.compile(result.toString())
    } catch (_: PatternSyntaxException) {
        throw unknown(source)
    }
}

private val GROUPS = listOf("(?:", "(?=", "(?!")
private const val SPACES =
    "\\u0009-\\u000D\\u0020\\u0085\\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000"
private const val WORD = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"

private fun unknown(source: String) = UnknownTokenizerException("the pattern $source is not known")

/** Null where it is not known to mean the same. Inside a class a negated one could not be written out. */
private fun escape(character: Char, isInClass: Boolean): String? =
    when (character) {
        's' -> if (isInClass) SPACES else "[$SPACES]"
        'd' -> "\\p{Nd}"
        'w' -> if (isInClass) WORD else "[$WORD]"
        'A' -> if (isInClass) null else "\\A" // the beginning of the text
        'S' -> if (isInClass) null else "[^$SPACES]"
        'D' -> "\\P{Nd}"
        'W' -> if (isInClass) null else "[^$WORD]"
        'p', 'P', 'r', 'n', 't' -> "\\$character"
        else -> if (character.isLetterOrDigit()) null else "\\$character"
    }
