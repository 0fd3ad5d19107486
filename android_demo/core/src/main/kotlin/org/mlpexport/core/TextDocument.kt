package org.mlpexport.core

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/** What a file that is opened as text turned out to be. */
sealed interface TextDocument {
    /** [text] has no byte order mark, and line ends of one character. */
    data class Text(val text: String) : TextDocument

    /** [position] is the byte where it was seen, or the size in bytes for TOO_BIG. */
    data class Refused(val problem: Problem, val position: Long) : TextDocument

    enum class Problem { EMPTY, TOO_BIG, UTF_16, BINARY, NOT_UTF_8 }

    companion object {
        /** Far above what any context holds: about 2 million tokens. */
        const val MOST_BYTES = 8L shl 20

        // More than any usual token has on average, even of runs of spaces or dashes.
        private const val BYTES_PER_TOKEN = 64L

        /** A text of more bytes does not fit [context] tokens: known without counting, which takes memory. */
        fun mostBytes(context: Int) = minOf(MOST_BYTES, BYTES_PER_TOKEN * context)

        /** [bytes] as text; only UTF-8 is taken, as a guess at another encoding would go to the model unseen. */
        fun read(bytes: ByteArray, mostBytes: Long = MOST_BYTES): TextDocument {
            if (bytes.size > mostBytes) return Refused(Problem.TOO_BIG, bytes.size.toLong())
            if (startsLikeUtf16(bytes)) return Refused(Problem.UTF_16, 0)
            val control = bytes.indexOfFirst { it.toInt() in 0..31 && it.toInt() !in TEXT_CONTROLS }
            if (control >= 0) {
                val problem = if (isUtf16WithoutMark(bytes)) Problem.UTF_16 else Problem.BINARY
                return Refused(problem, control.toLong())
            }
            val input = ByteBuffer.wrap(bytes)
            val text =
                try {
                    Charsets.UTF_8.newDecoder().decode(input).toString()
                } catch (_: CharacterCodingException) {
                    return Refused(Problem.NOT_UTF_8, input.position().toLong())
                }
            val plain = text.removePrefix("\uFEFF").replace("\r\n", "\n").replace('\r', '\n')
            return if (plain.isBlank()) Refused(Problem.EMPTY, 0) else Text(plain)
        }

        private val TEXT_CONTROLS = setOf(9, 10, 12, 13, 27) // tab, line feed, form feed, carriage return, escape

        private fun startsLikeUtf16(bytes: ByteArray) =
            bytes.size >= 2 && (bytes[0].toInt() and 0xFF) + (bytes[1].toInt() and 0xFF) == 0x1FD &&
                bytes[0].toInt() and 0xFE == 0xFE

        /** Whether nearly every second byte of the beginning is 0, as in UTF-16 of European text. */
        private fun isUtf16WithoutMark(bytes: ByteArray): Boolean {
            val pairs = minOf(bytes.size, 4096) / 2
            if (pairs < 2) return false
            val zeros = IntArray(2)
            for (index in 0 until pairs * 2) if (bytes[index] == 0.toByte()) zeros[index % 2]++
            return zeros.max() * 10 >= pairs * 9 && zeros.min() * 10 <= pairs
        }
    }
}
