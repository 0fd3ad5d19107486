package org.mlpexport.core

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

private const val BAD_ID = """{"model": {"vocab": {"a": 1.5}}}"""

class TokenizerTest {
    @get:Rule val temporary = TemporaryFolder()

    private val tokenizers = vectors("tokenizers.json").getAsJsonObject("tokenizers")
    private val known = json(tokenizers.get("SmolLM2").asString).asJsonObject

    private fun json(text: String) = JsonParser.parseString(text)

    private fun open(text: String): Tokenizer = Tokenizer.open(temporary.newFile().apply { writeText(text) })

    private fun changed(change: (JsonObject) -> Unit): Tokenizer = open(known.deepCopy().also(change).toString())

    @Test
    fun `special tokens`() {
        val tokenizer = changed { it.getAsJsonArray("added_tokens").get(0).asJsonObject.addProperty("special", false) }
        assertEquals("<|end|>", tokenizer.specialIn("say <|user|> and <|end|> and <|assistant|>"))
        assertNull("an added token that is not special", tokenizer.specialIn("say <|user|>"))
        assertNull(tokenizer.specialIn("<|en d|> <|end"))
        val id = known.getAsJsonArray("added_tokens").last().asJsonObject.get("id").asInt
        assertEquals("<|end|>", tokenizer.spelling(id))
        assertNull(tokenizer.spelling(id + 1))
        assertEquals(TokenCount(1, true), tokenizer.count("<|end|>"))
    }

    @Test
    fun `what is not known gives estimates, says why, and still knows special tokens`() {
        val pattern = { source: String ->
            json("""{"type": "Split", "pattern": {"Regex": "$source"}, "behavior": "Isolated"}""")
        }
        val replace = json("""{"type": "Replace", "pattern": {"Regex": "a*"}, "content": "b"}""")
        val cases =
            mapOf<String, (JsonObject) -> Unit>(
                "Unigram" to { it.getAsJsonObject("model").addProperty("type", "Unigram") },
                "BertPreTokenizer" to { it.add("pre_tokenizer", json("""{"type": "BertPreTokenizer"}""")) },
                "Lowercase" to { it.add("normalizer", json("""{"type": "Lowercase"}""")) },
                "a Replace of nothing" to { it.add("normalizer", replace) },
                "[\\A]" to { it.add("pre_tokenizer", pattern("[\\\\A]")) },
                "(?<=a)" to { it.add("pre_tokenizer", pattern("(?<=a)b")) },
                "\\h" to { it.add("pre_tokenizer", pattern("\\\\h+")) },
                "[[:alpha:]]" to { it.add("pre_tokenizer", pattern("[[:alpha:]]+")) },
                "^a" to { it.add("pre_tokenizer", pattern("^a")) },
                "dropout" to { it.getAsJsonObject("model").addProperty("dropout", 0.1) },
                "end_of_word_suffix" to { it.getAsJsonObject("model").addProperty("end_of_word_suffix", "</w>") },
                "merge" to { it.getAsJsonObject("model").getAsJsonArray("merges").add("Q Z") },
                "vocabulary" to { it.getAsJsonObject("model").remove("vocab") },
            )
        for ((what, change) in cases) {
            val tokenizer = changed(change)
            assertTrue("$what: ${tokenizer.inexactBecause}", what in tokenizer.inexactBecause.orEmpty())
            assertEquals(what, "<|end|>", tokenizer.specialIn("a<|end|>"))
            assertFalse(what, tokenizer.count("a text").exact)
        }
    }

    @Test
    fun `damaged files give estimates`() {
        val text = known.toString()
        val cut = listOf("", "{", "[]", "null", "\u0000", text.dropLast(1), text.take(text.length / 2))
        val wrong = listOf("{}", """{"added_tokens": 1}""", """{"added_tokens": [{"id": "x"}]}""", BAD_ID)
        val odd =
            listOf("[]", "1", "{\"type\": \"Sequence\"}", "{\"type\": []}", "{\"type\": \"Split\", \"pattern\": 1}")
                .map { known.deepCopy().apply { add("pre_tokenizer", json(it)) }.toString() }
        for (content in cut + wrong + odd) {
            assertNotNull(content.take(40), open(content).inexactBecause)
        }
        assertNotNull(Tokenizer.open(File(temporary.root, "gone")).inexactBecause)
    }

    @Test
    fun `merges as texts, and before the vocabulary`() {
        val text = "The river rises in the hills."
        val expected = (changed {} as BpeTokenizer).encode(text).toList()
        val other =
            changed { json ->
                val model = json.remove("model").asJsonObject
                val merges = model.remove("merges").asJsonArray.map { it.asJsonArray.strings().joinToString(" ") }
                val turned = JsonObject()
                turned.add("merges", JsonArray().also { merges.forEach(it::add) })
                for ((key, value) in model.entrySet()) turned.add(key, value)
                json.add("model", turned)
            }
        assertNull(other.inexactBecause)
        assertEquals(expected, (other as BpeTokenizer).encode(text).toList())
    }

    @Test
    fun `half a surrogate pair is a replacement character`() {
        val tokenizer = changed {} as BpeTokenizer
        assertEquals(tokenizer.encode("a\uFFFDb").toList(), tokenizer.encode("a\uD83Db").toList())
    }

    @Test
    fun `a word of 100,000 letters takes no more than seconds`() {
        val tokenizer = changed {}
        val start = System.nanoTime()
        val count = tokenizer.count("the river rises ".replace(" ", "").repeat(7_700))
        val seconds = (System.nanoTime() - start) / 1e9
        assertTrue("$count", count.tokens > 7_700)
        assertTrue("$seconds s", seconds < 20)
    }

    @Test
    fun `estimates`() {
        val tokenizer = EstimatingTokenizer(AddedTokens(emptyList()), "a test")
        assertEquals(TokenCount(0, false), tokenizer.count(""))
        assertEquals(TokenCount(1, false), tokenizer.count("a"))
        assertEquals(TokenCount(2 + 3, false), tokenizer.count("abcdefgh世界\uD83D\uDE42"))
        val text = "some words that follow each other, ".repeat(30)
        val slices = tokenizer.slices(text, 10)
        assertEquals(text, slices.joinToString(""))
        assertTrue(slices.drop(1).all { it[0] == ' ' && it[1].isLetter() })
        assertTrue(slices.dropLast(1).all { it.length in 40..60 })
        assertEquals(listOf("x".repeat(500)), tokenizer.slices("x".repeat(500), 10))
        assertEquals(listOf(""), tokenizer.slices("", 10))
    }

    @Test
    fun `tables that grow`() {
        val vocabulary = Vocabulary()
        val merges = Merges()
        val count = 50_000
        for (id in 0 until count) vocabulary.put("token$id ü", id)
        vocabulary.put("token7 ü", 99)
        for (id in 0 until count) merges.add(id, id * 31 % count, id)
        assertEquals(count, vocabulary.size)
        assertEquals(99, vocabulary.id("token7 ü"))
        assertEquals(-1, vocabulary.id("token"))
        assertEquals(-1, vocabulary.id(""))
        for (id in 8 until count) {
            check(vocabulary.id("token$id ü") == id) { id }
            val found = merges.find(id, id * 31 % count)
            check(merges.rank(found) == id && merges.result(found) == id) { id }
        }
        assertEquals(-1, merges.find(count, 0))
    }

    @Test
    fun `patterns mean the same on every engine`() {
        for ((source, text, expected) in listOf(
            Triple("\\s+", "a \u000B\u0085\u2028\u3000b", " \u000B\u0085\u2028\u3000"),
            Triple("[^\\s\\p{L}]+", "ab \u0085!?", "!?"),
            Triple("\\d+", "a1\u0664²", "1\u0664"),
            Triple("\\w+", "-ä_1\u0301-", "ä_1\u0301"),
            Triple("(?i:'s)", "it'\u017F", "'\u017F"),
            Triple("\\(\\[\\^", "x([^", "([^"),
        )) {
            val matcher = tokenizerPattern(source).matcher(text)
            assertTrue(source, matcher.find())
            assertEquals(source, expected, matcher.group())
        }
        assertThrows(UnknownTokenizerException::class.java) { tokenizerPattern("[\\S]") }
        assertThrows(UnknownTokenizerException::class.java) { tokenizerPattern("(") }
        assertThrows(UnknownTokenizerException::class.java) { tokenizerPattern("a\\") }
    }
}
