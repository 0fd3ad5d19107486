package org.mlpexport.core

import java.nio.ByteBuffer
import java.nio.CharBuffer
import java.nio.charset.CodingErrorAction

private const val REPLACEMENT = "\uFFFD"

/** What Python's and so the templates' `strip` drops: Kotlin's white space, and NEXT LINE. */
internal fun isPythonSpace(character: Char) = character.isWhitespace() || character == '\u0085'

/** Unicode's White_Space: of Python's, all but four separators. */
internal fun isUnicodeSpace(character: Char) = isPythonSpace(character) && character !in '\u001C'..'\u001F'

/** This text with replacement characters for halves of surrogate pairs, which have no UTF-8. */
internal fun String.wellFormed(): String {
    if (none(Char::isSurrogate)) return this
    val result = StringBuilder(length)
    var at = 0
    while (at < length) {
        val size = Character.charCount(codePointAt(at))
        if (size == 1 && this[at].isSurrogate()) result.append(REPLACEMENT) else result.append(this, at, at + size)
        at += size
    }
    return result.toString()
}

/** Puts pieces together that end inside a surrogate pair: the first half waits for the second. */
class SurrogateAssembler {
    private var held = ""

    /** The whole characters once [piece] is there. */
    fun push(piece: String): String {
        val text = held + piece
        held = if (text.isNotEmpty() && text.last().isHighSurrogate()) text.takeLast(1) else ""
        return text.dropLast(held.length).wellFormed()
    }

    /** A replacement character for a half that is still held, when no more text comes. */
    fun finish(): String = if (held.isEmpty()) "" else REPLACEMENT.also { held = "" }
}

/**
 * Decodes UTF-8 that comes in chunks which may end inside a character. Bytes that are no UTF-8 become U+FFFD. For
 * engines whose runtime gives bytes, as the vectors of utf8.json have them; ExecuTorch's gives strings, which
 * [SurrogateAssembler] takes.
 */
class Utf8Assembler {
    private val decoder =
        Charsets.UTF_8.newDecoder()
            .onMalformedInput(CodingErrorAction.REPLACE)
            .onUnmappableCharacter(CodingErrorAction.REPLACE)
    private var held = ByteArray(0)

    /** The whole characters once [bytes] are there. */
    fun push(bytes: ByteArray): String = decode(held + bytes, last = false)

    /** A replacement character for a part that is still held, when no more bytes come. */
    fun finish(): String = decode(held, last = true)

    private fun decode(bytes: ByteArray, last: Boolean): String {
        val input = ByteBuffer.wrap(bytes)
        val output = CharBuffer.allocate(bytes.size + 1)
        decoder.reset()
        decoder.decode(input, output, last)
        if (last) decoder.flush(output)
        held = bytes.copyOfRange(input.position(), bytes.size)
        return String(output.array(), 0, output.position())
    }
}
