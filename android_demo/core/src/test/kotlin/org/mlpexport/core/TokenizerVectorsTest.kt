package org.mlpexport.core

import com.google.gson.JsonParser
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

/** The ids of Hugging Face's `tokenizers`: tests/make_tokenizer_vectors.py. */
class TokenizerVectorsTest {
    @get:Rule val temporary = TemporaryFolder()

    private class Vector(val name: String, val tokenizer: BpeTokenizer, val cases: List<Pair<String, List<Int>>>)

    private fun vectors(): List<Vector> {
        val file = File(System.getProperty("vectors"), "tokenizer.json")
        return JsonParser.parseString(file.readText()).asJsonArray.map { it.asJsonObject }.map { json ->
            val tokenizer = temporary.newFile().apply { writeText(json.get("tokenizer").toString()) }
            val opened = Tokenizer.open(tokenizer)
            assertNull(opened.inexactBecause)
            val cases =
                json.getAsJsonArray("cases").map { it.asJsonObject }.map { case ->
                    case.get("text").asString to case.getAsJsonArray("ids").map { it.asInt }
                }
            Vector(json.get("name").asString, opened as BpeTokenizer, cases)
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
}
