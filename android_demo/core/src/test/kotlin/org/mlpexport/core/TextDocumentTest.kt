package org.mlpexport.core

import org.junit.Assert.assertEquals
import org.junit.Test
import org.mlpexport.core.TextDocument.Problem
import org.mlpexport.core.TextDocument.Refused

class TextDocumentTest {
    private val text = "Grüße, 世界 \uD83D\uDE42\n\tIt's fine.\n"

    @Test
    fun `UTF-8 is text`() {
        assertEquals(TextDocument.Text(text), TextDocument.read(text.toByteArray()))
    }

    @Test
    fun `a byte order mark and line ends of other systems do not reach the model`() {
        assertEquals(TextDocument.Text("a\nb\nc\n"), TextDocument.read("\uFEFFa\r\nb\rc\n".toByteArray()))
    }

    @Test
    fun `a context's bytes`() {
        assertEquals(131_072L, TextDocument.mostBytes(2048))
        assertEquals(TextDocument.MOST_BYTES, TextDocument.mostBytes(131_072))
        assertEquals(TextDocument.MOST_BYTES, TextDocument.mostBytes(Int.MAX_VALUE))
    }

    @Test
    fun `nothing in it`() {
        for (empty in listOf("", " \r\n\t ", "\uFEFF")) {
            assertEquals(Refused(Problem.EMPTY, 0), TextDocument.read(empty.toByteArray()))
        }
    }

    @Test
    fun `UTF-16, with a mark and without`() {
        assertEquals(Refused(Problem.UTF_16, 0), TextDocument.read(text.toByteArray(Charsets.UTF_16)))
        assertEquals(Refused(Problem.UTF_16, 0), TextDocument.read("\uFEFF$text".toByteArray(Charsets.UTF_16LE)))
        assertEquals(Refused(Problem.UTF_16, 1), TextDocument.read("Hello, hello".toByteArray(Charsets.UTF_16LE)))
        assertEquals(Refused(Problem.UTF_16, 0), TextDocument.read("Hello, hello".toByteArray(Charsets.UTF_16BE)))
    }

    @Test
    fun `binary files`() {
        val png = byteArrayOf(0x89.toByte()) + "PNG\r\n".toByteArray() + byteArrayOf(26, 10, 0, 0, 0, 13)
        assertEquals(Refused(Problem.BINARY, 6), TextDocument.read(png))
        assertEquals(Refused(Problem.BINARY, 3), TextDocument.read("abc\u0000def".toByteArray()))
    }

    @Test
    fun `other encodings`() {
        assertEquals(Refused(Problem.NOT_UTF_8, 2), TextDocument.read("Grüße".toByteArray(Charsets.ISO_8859_1)))
        val cut = "ab世".toByteArray().copyOf(4)
        assertEquals(Refused(Problem.NOT_UTF_8, 2), TextDocument.read(cut))
        val surrogate = byteArrayOf(0xED.toByte(), 0xA0.toByte(), 0x80.toByte())
        assertEquals(Refused(Problem.NOT_UTF_8, 0), TextDocument.read(surrogate))
    }

    @Test
    fun `too big`() {
        assertEquals(Refused(Problem.TOO_BIG, 11), TextDocument.read("elevenbytes".toByteArray(), mostBytes = 10))
        assertEquals(TextDocument.Text("ten  bytes"), TextDocument.read("ten  bytes".toByteArray(), mostBytes = 10))
    }
}
