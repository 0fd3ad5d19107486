package org.mlpexport.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** The ids of Hugging Face's `tokenizers`: tests/make_vectors.py. */
class TokenizerVectorsTest {
    @get:Rule val temporary = TemporaryFolder()

    private class Vector(val name: String, val tokenizer: BpeTokenizer, val cases: List<Pair<String, List<Int>>>)

    private fun vectors(): List<Vector> {
        val json = vectors("tokenizers.json")
        val cases = json.objects("cases").groupBy { it.get("tokenizer").asString }
        return json.getAsJsonObject("tokenizers").entrySet().map { (name, text) ->
            val opened = Tokenizer.open(temporary.newFile().apply { writeText(text.asString) })
            assertNull(name, opened.inexactBecause)
            Vector(
                name,
                opened as BpeTokenizer,
                cases.getValue(name).map { it.get("text").asString to it.getAsJsonArray("ids").map { id -> id.asInt } },
            )
        }
    }

    @Test
    fun `the ids of tokenizers`() {
        var count = 0
        for (vector in vectors()) {
            for ((text, ids) in vector.cases) {
                assertEquals("${vector.name}: $text", ids, vector.tokenizer.encode(text).toList())
                assertEquals(TokenCount(ids.size, true), vector.tokenizer.count(text))
                count++
            }
        }
        assertTrue("$count cases", count > 100)
    }

    @Test
    fun `slices have the tokens of the whole`() {
        for (vector in vectors()) {
            val text = vector.cases.joinToString("") { it.first }
            val ids = vector.tokenizer.encode(text).toList()
            for (size in listOf(1, 7, 64, ids.size)) {
                val slices = vector.tokenizer.slices(text, size)
                val label = "${vector.name}, $size"
                assertEquals(label, text, slices.joinToString(""))
                assertEquals(label, ids, slices.flatMap { vector.tokenizer.encode(it).toList() })
                assertTrue(label, slices.none { it.isEmpty() })
                if (size >= ids.size) assertEquals(label, 1, slices.size)
            }
        }
    }

    @Test
    fun `what ends a text has its own tokens there, or is told`() {
        // Where a space is put before each text, and before one that begins with a space.
        val spaced = setOf("Llama 2", "Metaspace", "Metaspace, words", "Metaspace, words, spelled out")
        val splitOtherwise = mapOf(" " to setOf("Llama 2"), "!" to spaced)
        for (vector in vectors()) {
            fun before(rest: String, start: String) = vector.tokenizer.tokensBefore(rest, start + rest)
            val text = vector.cases.joinToString("") { it.first }
            val slices = vector.tokenizer.slices(text, 7)
            for (count in slices.indices) {
                val (start, rest) = slices.take(count).joinToString("") to slices.drop(count).joinToString("")
                val tokens = TokenCount(slices.take(count).sumOf { vector.tokenizer.encode(it).size }, true)
                assertEquals("${vector.name}, $count", tokens, before(rest, start))
            }
            val one = vector.tokenizer.count("a")
            assertEquals(vector.name, one, before("<|end|>", "a"))
            for ((mark, names) in splitOtherwise) {
                val expected = if (vector.name in names) null else one
                assertEquals("${vector.name}, '$mark'", expected, before("$mark<|end|>", "a"))
            }
        }
    }
}
