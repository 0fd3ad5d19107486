package org.mlpexport.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertSame
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.ChatFormat.Trim
import java.text.Normalizer
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit

private const val STOP = "<|im_end|>"

class ChatSessionTest {
    private val engine = FakeEngine()
    private val shown = ArrayList<String>()
    private val prefilled = ArrayList<Pair<Int, Int>>()
    private var cancelAt: (String) -> Boolean = { false }
    private var cancelled = false
    private var nanos = 0L

    private val listener =
        object : AnswerListener {
            override fun onPrefill(done: Int, total: Int) {
                prefilled += done to total
            }

            override fun onText(text: String) {
                shown += text
                if (cancelAt(text)) cancelled = true
            }

            override fun cancelled() = cancelled
        }

    private fun session(
        manifest: Manifest = manifest(),
        engine: FakeEngine = this.engine,
        tokenizer: Tokenizer = WordTokenizer(),
    ) = ChatSession(engine, manifest, tokenizer, clock = { nanos.also { nanos += 1_000_000 } }, memory = { 77 })

    private fun ChatSession.ask(vararg turns: Turn, settings: GenerationSettings = GenerationSettings()): Answer =
        answer(turns.toList(), settings, listener)

    private fun user(text: String) = Turn(Role.USER, text)

    private fun assistant(text: String) = Turn(Role.ASSISTANT, text)

    private fun system(text: String) = Turn(Role.SYSTEM, text)

    private val fed get() =
        engine.calls.mapNotNull {
            when (it) {
                is FakeEngine.Call.Prefill -> it.text
                is FakeEngine.Call.Generate -> it.text
                else -> null
            }
        }.joinToString("")

    private val generated get() = engine.calls.filterIsInstance<FakeEngine.Call.Generate>()

    private fun resets() = engine.calls.count { it == FakeEngine.Call.Reset }

    // an answer

    @Test
    fun `the answer without its stop token, and what it took`() {
        engine.script("Par", "is", ".", STOP)
        val answer = session().ask(user("Hi?"))
        assertEquals("Paris.", answer.text)
        assertEquals(AnswerEnd.COMPLETE, answer.end)
        assertEquals(listOf("Par", "Paris", "Paris."), shown)
        val prompt = "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
        assertEquals(prompt, fed)
        val tokens = FakeEngine.words(prompt).size
        val statistics = answer.statistics
        assertEquals(tokens, statistics.promptTokens)
        assertEquals(0, statistics.cachedTokens)
        assertEquals(3, statistics.answerTokens)
        assertEquals(tokens.toDouble(), statistics.prefillTokensPerSecond ?: 0.0, 1e-9) // a second in the fake engine
        assertEquals(10.0, statistics.decodeTokensPerSecond ?: 0.0, 1e-9)
        assertTrue("${statistics.firstTokenMillis}", statistics.firstTokenMillis in 1..9)
        assertEquals(77, statistics.memoryBytes)
    }

    @Test
    fun `a stop string in several pieces never shows`() {
        engine.script("a ", "<|", "im_", "end", "|>", "b", "c")
        val answer = session().ask(user("Hi"))
        assertEquals("a ", answer.text)
        assertEquals(AnswerEnd.COMPLETE, answer.end)
        assertTrue("the engine was stopped", FakeEngine.Call.Stop in engine.calls)
    }

    @Test
    fun `what only looked like a stop string shows in the end`() {
        engine.script("a ", "<|im")
        val answer = session().ask(user("Hi"), settings = GenerationSettings(maxNewTokens = 2))
        assertEquals("a <|im", answer.text)
        assertEquals(AnswerEnd.MAX_TOKENS, answer.end)
        assertEquals(listOf("a ", "a <|im"), shown)
    }

    @Test
    fun `a stop token as the first piece, which the runtime does not stop at`() {
        engine.script(STOP, "\n", "more", "and more")
        val answer = session().ask(user("Hi"))
        assertEquals("", answer.text)
        assertEquals(AnswerEnd.COMPLETE, answer.end)
        assertEquals(emptyList<String>(), shown)
        assertEquals("the stop after the first piece was lost", 2, engine.calls.count { it == FakeEngine.Call.Stop })
    }

    @Test
    fun `halves of a character come together`() {
        engine.script("a\uD83D", "\uDE42", STOP)
        assertEquals("a\uD83D\uDE42", session().ask(user("Hi")).text)
        assertEquals(listOf("a", "a\uD83D\uDE42"), shown)
    }

    @Test
    fun `the end of the wanted tokens`() {
        engine.script("a", "b", "c", "d")
        val answer = session().ask(user("Hi"), settings = GenerationSettings(temperature = 0.5f, maxNewTokens = 3))
        assertEquals("abc", answer.text)
        assertEquals(AnswerEnd.MAX_TOKENS, answer.end)
        assertEquals(3, answer.statistics.answerTokens)
        assertEquals(3, generated.single().maxNewTokens)
        assertEquals(0.5f, generated.single().temperature)
    }

    @Test
    fun `what an answer begins with is dropped once where the manifest says so`() {
        val cases =
            listOf(
                Triple(" ", listOf(" Paris", STOP), listOf("Paris")),
                Triple(" ", listOf(" ", " Paris", STOP), listOf(" Paris")),
                Triple(" ", listOf("Paris", " .", STOP), listOf("Paris", "Paris .")),
                Triple(" ", listOf(" ", STOP), emptyList()),
                Triple("__", listOf("_", "_a", STOP), listOf("a")),
                Triple("__", listOf("_", "a", STOP), listOf("_a")),
                Triple("__", listOf("_", STOP), listOf("_")),
            )
        for ((strip, pieces, texts) in cases) {
            shown.clear()
            engine.script(*pieces.toTypedArray())
            val answer = session(manifest(answerStrip = strip)).ask(user("Hi"))
            assertEquals("$pieces", texts, shown)
            assertEquals("$pieces", texts.lastOrNull().orEmpty(), answer.text)
        }
    }

    @Test
    fun `a space that is not shown is in the cache where the template has it`() {
        val chat = CHATML.copy(generationPrompt = "<|im_start|>assistant", assistantPrefix = "<|im_start|>assistant ")
        val manifest = manifest(chat = chat.copy(trim = true), answerStrip = " ")
        assertEquals("$STOP\n<|im_start|>user\nOn$STOP\n<|im_start|>assistant", secondTurn(manifest, " Paris", STOP))
    }

    // the next turn

    @Test
    fun `only the new turn is prefilled`() {
        val session = session()
        engine.script("Paris", STOP)
        session.ask(user("Hi?"))
        engine.calls.clear()
        engine.script("Yes", STOP)
        val answer = session.ask(user("Hi?"), assistant("Paris"), user("Sure?"))
        assertEquals("$STOP\n<|im_start|>user\nSure?$STOP\n<|im_start|>assistant\n", fed)
        assertEquals(0, resets())
        assertEquals("Yes", answer.text)
        val whole = CHATML.compose(listOf(user("Hi?"), assistant("Paris"), user("Sure?"))) + "Yes"
        assertEquals("the cache holds what the template renders", whole, engine.cache)
        assertEquals(FakeEngine.words(fed).size, answer.statistics.promptTokens)
        assertEquals(engine.position - 1, answer.statistics.cachedTokens + answer.statistics.promptTokens)
    }

    @Test
    fun `after the wanted tokens the last piece goes in with the next turn`() {
        val session = session()
        engine.script("a", " b", " c")
        session.ask(user("Hi"), settings = GenerationSettings(maxNewTokens = 2))
        engine.calls.clear()
        session.ask(user("Hi"), assistant("a b"), user("On"))
        assertEquals(" b$STOP\n<|im_start|>user\nOn$STOP\n<|im_start|>assistant\n", fed)
        assertEquals(0, resets())
    }

    @Test
    fun `an answer that is another one means beginning anew`() {
        val session = session()
        session.ask(user("Hi"))
        engine.calls.clear()
        session.ask(user("Hi"), assistant("No."), user("On"))
        assertEquals(CHATML.compose(listOf(user("Hi"), assistant("No."), user("On"))), fed)
        assertEquals(1, resets())
    }

    @Test
    fun `regenerate begins anew, as a cache cannot go back`() {
        val session = session()
        session.ask(user("Hi"))
        engine.calls.clear()
        val again = session.ask(user("Hi"))
        assertEquals(CHATML.compose(listOf(user("Hi"))), fed)
        assertEquals(0, again.statistics.cachedTokens)
        assertEquals(1, resets())
    }

    /** What [first] and then [second] were given, and whether the cache was emptied for [second]. */
    private fun secondTurn(manifest: Manifest, vararg pieces: String): String {
        val session = session(manifest)
        engine.script(*pieces)
        val first = session.ask(user(" Hi "))
        engine.calls.clear()
        session.ask(user(" Hi "), assistant(first.text), user(" On "))
        return if (resets() > 0) "anew: $fed" else fed
    }

    private val onOnly = "$STOP\n<|im_start|>user\nOn$STOP\n<|im_start|>assistant\n"

    @Test
    fun `an answer that the template writes otherwise is fed anew as the template has it`() {
        val trims = CHATML.copy(trim = true, answerTrimStart = Trim.WHITESPACE, answerTrimEnd = Trim.WHITESPACE)
        val anew = "anew: " + trims.compose(listOf(user("Hi"), assistant("Paris"), user("On")))
        assertEquals(anew, secondTurn(manifest(chat = trims), "\n", "Paris", " ", STOP))
        assertEquals("nothing to trim", onOnly, secondTurn(manifest(chat = trims), "Paris", STOP))
        val keeps = trims.copy(answerTrimStart = Trim.NONE, answerTrimEnd = Trim.NONE)
        assertEquals("trims messages alone", onOnly, secondTurn(manifest(chat = keeps), "\n", "Paris", " ", STOP))
    }

    @Test
    fun `the reasoning of an earlier answer is not fed again`() {
        val chat = CHATML.copy(trim = true, reasoningEnd = "</think>", reasoningTrim = Trim.NEWLINES)
        val manifest = manifest(chat = chat)
        val thought = arrayOf("<", "think", ">", "Hm", "</", "think", ">", "\n", "\n", "Paris", STOP)
        val anew = "anew: " + chat.compose(listOf(user("Hi"), assistant("Paris"), user("On")))
        assertEquals(anew, secondTurn(manifest, *thought))
        assertEquals("no reasoning", onOnly, secondTurn(manifest, "Paris", STOP))
    }

    @Test
    fun `an answer behind another prompt than the one that stands before earlier answers`() {
        val chat = CHATML.copy(trim = true, generationPrompt = "<|im_start|>assistant\n<think>\n")
        val session = session(manifest(chat = chat))
        engine.script("Paris", STOP)
        session.ask(user("Hi"))
        assertTrue(fed, fed.endsWith("<|im_start|>assistant\n<think>\n"))
        engine.calls.clear()
        session.ask(user("Hi"), assistant("Paris"), user("On"))
        val opening = "<|im_start|>user\nHi$STOP\n<|im_start|>assistant\n"
        assertEquals("${opening}Paris$onOnly<think>\n", fed)
        assertEquals(1, resets())
    }

    @Test
    fun `an answer of other tokens than the tokenizer's means beginning anew`() {
        val chat = CHATML.copy(trim = true)
        val anew = "anew: " + chat.compose(listOf(user("Hi"), assistant("Paris"), user("On")))
        assertEquals(anew, secondTurn(manifest(chat = chat), "Par", "is", STOP))
        assertEquals(onOnly, secondTurn(manifest(chat = chat), "Paris", STOP))
    }

    @Test
    fun `a new turn that has other tokens alone than in its place means beginning anew`() {
        // As SentencePiece's tokenizers do, which put a space before each text.
        val startsWithSpace =
            object : Tokenizer by WordTokenizer() {
                override fun tokensBefore(rest: String, whole: String) =
                    WordTokenizer().tokensBefore(rest, whole).takeIf { rest.startsWith("<|") }
            }
        for ((suffix, resets) in listOf(" . $STOP" to 1, STOP to 0)) {
            val engine = FakeEngine()
            val session = session(manifest(chat = CHATML.copy(assistantSuffix = suffix)), engine, startsWithSpace)
            engine.script("a", STOP)
            session.ask(user("Hi"))
            engine.calls.clear()
            engine.script("b", STOP)
            session.ask(user("Hi"), assistant("a"), user("On"))
            assertEquals(suffix, resets, engine.calls.count { it == FakeEngine.Call.Reset })
        }
    }

    // normalization

    @Test
    fun `messages and prompts are normalized where the manifest says so`() {
        val nfc = Normalizer.Form.NFC
        val (decomposed, composed) = "e\u0301 \u1100\u1161" to "\u00E9 \uAC00"
        val settings = GenerationSettings(systemPrompt = decomposed)
        session(manifest(normalization = nfc)).ask(user(decomposed), settings = settings)
        assertEquals(CHATML.compose(listOf(system(composed), user(composed))), fed)
        engine.calls.clear()
        session(manifest(chat = null, normalization = nfc)).ask(user(decomposed))
        assertEquals(composed, fed)
        engine.calls.clear()
        session().ask(user(decomposed))
        assertEquals("only where it says so", CHATML.compose(listOf(user(decomposed))), fed)
        val turns = listOf(user(decomposed), assistant("Yes."))
        val used = FakeEngine.words(CHATML.compose(listOf(user(composed), assistant("Yes.")), generate = false)).size
        assertEquals(TokenCount(used, true), usedTokens(manifest(normalization = nfc), WordTokenizer(), turns))
    }

    @Test
    fun `what the model wrote is normalized in later turns, and goes on from the cache where that changes nothing`() {
        for ((answer, resets) in listOf("e\u0301" to 1, "\u00E9" to 0)) {
            val engine = FakeEngine()
            val session = session(manifest(normalization = Normalizer.Form.NFC), engine)
            engine.script(answer, ".", STOP)
            session.ask(user("Hi"))
            engine.calls.clear()
            session.ask(user("Hi"), assistant("$answer."), user("e\u0301"))
            assertEquals(answer, resets, engine.calls.count { it == FakeEngine.Call.Reset })
            val whole = CHATML.compose(listOf(user("Hi"), assistant("\u00E9."), user("\u00E9")))
            assertEquals(answer, whole, engine.cache.take(whole.length))
        }
    }

    @Test
    fun `a last piece of several tokens, part of which is in the cache`() {
        val parts =
            object : Tokenizer by WordTokenizer() {
                override fun count(text: String) =
                    TokenCount(FakeEngine.words(text).size + text.count { it == 'é' }, exact = true)
            }
        for ((last, resets) in listOf(" é" to 1, " e" to 0)) {
            val engine = FakeEngine()
            val session = session(engine = engine, tokenizer = parts)
            engine.script("a", last)
            session.ask(user("Hi"), settings = GenerationSettings(maxNewTokens = 2))
            engine.calls.clear()
            session.ask(user("Hi"), assistant("a$last"), user("On"))
            assertEquals(last, resets, engine.calls.count { it == FakeEngine.Call.Reset })
        }
    }

    @Test
    fun `an end without a spelling leaves every piece in the cache`() {
        val session = session()
        engine.script("a", " b", "")
        assertEquals(AnswerEnd.COMPLETE, session.ask(user("Hi")).end)
        engine.calls.clear()
        session.ask(user("Hi"), assistant("a b"), user("On"))
        assertEquals("$STOP\n<|im_start|>user\nOn$STOP\n<|im_start|>assistant\n", fed)
    }

    // long prompts, cancel

    @Test
    fun `a long prompt goes in slices with progress`() {
        val session = session(manifest(prefillChunk = 16))
        val answer = session.ask(user("word ".repeat(40).trim()))
        val slices = engine.calls.filterIsInstance<FakeEngine.Call.Prefill>().map { it.text }
        assertEquals(2, slices.size)
        assertTrue(slices.all { FakeEngine.words(it).size == 16 })
        val total = answer.statistics.promptTokens
        assertEquals(listOf(0 to total, 16 to total, 32 to total, total to total), prefilled)
        assertEquals(CHATML.compose(listOf(user("word ".repeat(40).trim()))), fed)
    }

    @Test
    fun `cancel between slices ends it, and what went in is not fed again`() {
        val session = session(manifest(prefillChunk = 8))
        val turns = arrayOf(user("word ".repeat(40).trim()))
        val answer = session.answer(turns.toList(), GenerationSettings(), stopsAt16())
        assertEquals(AnswerEnd.STOPPED, answer.end)
        assertEquals("", answer.text)
        assertEquals(16, answer.statistics.promptTokens)
        assertEquals(0, generated.size)
        val before = fed
        engine.calls.clear()
        val again = session.ask(*turns)
        assertEquals(CHATML.compose(turns.toList()), before + fed)
        assertEquals(16, again.statistics.cachedTokens)
        assertEquals(0, resets())
    }

    private fun stopsAt16() =
        object : AnswerListener {
            private var seen = 0

            override fun onPrefill(done: Int, total: Int) {
                seen = done
            }

            override fun onText(text: String) = Unit

            override fun cancelled() = seen >= 16
        }

    @Test
    fun `another prompt that goes on differently where one was cut begins anew`() {
        val words = List(40) { "word" }
        for ((changed, resets) in listOf(14 to 1, 35 to 0)) {
            val engine = FakeEngine()
            val session = session(manifest(prefillChunk = 8), engine)
            session.answer(listOf(user(words.joinToString(" "))), GenerationSettings(), stopsAt16())
            val cut = FakeEngine.words(engine.cache).count { "word" in it }
            assertTrue("$cut", cut in 10..14)
            engine.calls.clear()
            session.ask(user(words.mapIndexed { n, word -> if (n == changed) "other" else word }.joinToString(" ")))
            assertEquals("word $changed", resets, engine.calls.count { it == FakeEngine.Call.Reset })
        }
    }

    @Test
    fun `cancel in an answer keeps what came, and the next turn goes on from it`() {
        val session = session()
        engine.script("a", " b", " c", " d", STOP)
        cancelAt = { it == "a b" }
        val answer = session.ask(user("Hi"))
        assertEquals(AnswerEnd.STOPPED, answer.end)
        assertEquals("a b", answer.text)
        cancelled = false
        engine.calls.clear()
        session.ask(user("Hi"), assistant("a b"), user("On"))
        assertEquals(" b$STOP\n<|im_start|>user\nOn$STOP\n<|im_start|>assistant\n", fed)
    }

    @Test
    fun `cancel on the first piece, which the runtime loses, is repeated`() {
        engine.script("a", " b", " c", STOP)
        cancelAt = { it == "a" }
        val answer = session().ask(user("Hi"))
        assertEquals(AnswerEnd.STOPPED, answer.end)
        assertEquals("a b", answer.text)
    }

    @Test
    fun `cancel from another thread`() {
        val session = session()
        val thread = Executors.newSingleThreadExecutor()
        engine.script("a", " b", " c", " d", STOP)
        engine.pause()
        val answer = thread.submit<Answer> { session.ask(user("Hi")) }
        engine.step()
        while (shown.isEmpty()) Thread.sleep(1)
        session.cancel()
        engine.resume()
        assertEquals(AnswerEnd.STOPPED, answer.get(10, TimeUnit.SECONDS).end)
        session.cancel() // nothing runs: the next answer is whole
        engine.script("x", STOP)
        assertEquals(AnswerEnd.COMPLETE, session.ask(user("Hi")).end)
        thread.shutdown()
    }

    // the end of the context

    @Test
    fun `an answer ends where the context is full`() {
        val prompt = FakeEngine.words(CHATML.compose(listOf(user("Hi")))).size
        val engine = FakeEngine(context = prompt + 2)
        engine.script("a", "b", "c", "d", "e")
        val answer = session(manifest(context = prompt + 2, prefillChunk = 4), engine).ask(user("Hi"))
        assertEquals(AnswerEnd.CONTEXT_FULL, answer.end)
        assertEquals("the last token needs no place", "abc", answer.text)
        assertEquals(prompt + 2, engine.position)
    }

    @Test
    fun `a prompt that leaves no room is refused before the engine sees it`() {
        val tokens = FakeEngine.words(CHATML.compose(listOf(user("Hi")))).size
        val session = session(manifest(context = tokens))
        val thrown = assertThrows(PromptException::class.java) { session.ask(user("Hi")) }
        assertEquals(PromptProblem.TOO_LONG, thrown.problem)
        assertEquals(TokenCount(tokens, true), thrown.tokens)
        assertEquals(tokens, thrown.context)
        assertEquals(emptyList<FakeEngine.Call>(), engine.calls.toList())
        session(manifest(context = tokens + 1)).ask(user("Hi"))
    }

    @Test
    fun `a conversation that is too long is refused, and stays`() {
        val session = session(manifest(context = 40))
        session.ask(user("Hi"))
        val held = engine.cache
        val long = user("word ".repeat(30).trim())
        assertThrows(PromptException::class.java) { session.ask(user("Hi"), assistant("Yes."), long) }
        assertEquals(held, engine.cache)
        engine.calls.clear()
        session.ask(user("Hi"), assistant("Yes."), user("On"))
        assertEquals(0, resets())
    }

    @Test
    fun `estimates leave the end of the context to the runtime`() {
        val estimates =
            object : Tokenizer by WordTokenizer() {
                override val inexactBecause = "a test"

                override fun count(text: String) = TokenCount(1, exact = false)
            }
        val engine = FakeEngine(context = 12)
        engine.script(*Array(20) { "w" })
        val session = session(manifest(context = 12), engine, estimates)
        val answer = session.ask(user("Hi"))
        assertEquals(AnswerEnd.CONTEXT_FULL, answer.end)
        assertTrue(answer.text, answer.text.startsWith("www"))
        engine.calls.clear()
        val thrown = assertThrows(PromptException::class.java) { session.ask(user("word ".repeat(30))) }
        assertEquals(PromptProblem.TOO_LONG, thrown.problem)
        assertFalse(thrown.tokens?.exact ?: true)
        assertEquals("begun anew, as nothing is known of the cache", FakeEngine.Call.Reset, engine.calls.first())
    }

    // refusals

    @Test
    fun `messages that spell a special token`() {
        val thrown = assertThrows(PromptException::class.java) { session().ask(user("ignore $STOP this")) }
        assertEquals(PromptProblem.SPECIAL_TOKEN, thrown.problem)
        assertEquals(STOP, thrown.detail)
        val settings = GenerationSettings(systemPrompt = "<|im_start|>")
        assertThrows(PromptException::class.java) { session().ask(user("Hi"), settings = settings) }
        assertEquals(emptyList<FakeEngine.Call>(), engine.calls.toList())
        session().ask(user("<|im_end"))
    }

    @Test
    fun `nothing to answer`() {
        val empty = listOf(emptyList(), listOf(user(" \n")), listOf(user("Hi"), assistant("Ho")), listOf(system("Hi")))
        for (turns in empty) {
            val thrown = assertThrows(PromptException::class.java) { session().ask(*turns.toTypedArray()) }
            assertEquals(PromptProblem.EMPTY, thrown.problem)
        }
    }

    @Test
    fun `system prompts`() {
        session().ask(user("Hi"), settings = GenerationSettings(systemPrompt = "Be brief."))
        assertEquals(CHATML.compose(listOf(system("Be brief."), user("Hi"))), fed)
        engine.calls.clear()
        session().ask(system("Be long."), user("Hi"), settings = GenerationSettings(systemPrompt = "Be brief."))
        assertEquals("the conversation's own", CHATML.compose(listOf(system("Be long."), user("Hi"))), fed)
        val without = manifest(chat = CHATML.copy(systemPrefix = null, systemSuffix = null))
        val refused =
            assertThrows(PromptException::class.java) {
                session(without).ask(user("Hi"), settings = GenerationSettings(systemPrompt = "Be brief."))
            }
        assertEquals(PromptProblem.NO_SYSTEM_ROLE, refused.problem)
        engine.calls.clear()
        session(without).ask(user("Hi"), settings = GenerationSettings(systemPrompt = ""))
        assertEquals(CHATML.compose(listOf(user("Hi"))), fed)
    }

    @Test
    fun `a model without a chat format continues the text, with its start token spelled`() {
        session(manifest(chat = null, addBos = true)).ask(user("Once upon"))
        assertEquals("<|im_start|>Once upon", fed)
        engine.calls.clear()
        session(manifest(chat = null)).ask(user("Once upon"))
        assertEquals("Once upon", fed)
    }

    @Test
    fun `a model without a chat format ends where it spells its end token, which is not shown`() {
        engine.script(" a", " time", "<|im_end|>")
        val answer = session(manifest(chat = null)).ask(user("Once upon"))
        assertEquals(" a time", answer.text)
        assertEquals(AnswerEnd.COMPLETE, answer.end)
        assertEquals(2, answer.statistics.answerTokens)
    }

    @Test
    fun `the runtime keeps a place for the last token where the context is one chunk`() {
        fun asked(prefillChunk: Int): Int {
            engine.calls.clear()
            val manifest = manifest(context = 64, prefillChunk = prefillChunk)
            session(manifest).ask(user("Hi"), settings = GenerationSettings(maxNewTokens = 1000))
            return engine.calls.filterIsInstance<FakeEngine.Call.Generate>().single().maxNewTokens
        }
        val tokens = WordTokenizer().count(CHATML.compose(listOf(user("Hi")))).tokens
        assertEquals(64 - tokens + 1, asked(prefillChunk = 32))
        assertEquals(64 - tokens, asked(prefillChunk = 64))
    }

    // failures

    @Test
    fun `after a failure everything is fed anew`() {
        val session = session()
        val failure = EngineFailure(EngineFailure.Kind.UNKNOWN, 35, "no")
        engine.failAfterPiece = { if (it == 1) failure else null }
        engine.script("a", "b", "c")
        val thrown = assertThrows(EngineException::class.java) { session.ask(user("Hi")) }
        assertEquals(failure, thrown.failure)
        assertEquals(listOf("a", "ab"), shown)
        engine.failAfterPiece = { null }
        engine.calls.clear()
        session.ask(user("Hi"))
        assertEquals(FakeEngine.Call.Reset, engine.calls.first())
        assertEquals(CHATML.compose(listOf(user("Hi"))), fed)
    }

    @Test
    fun `a prefill that fails`() {
        val session = session(manifest(prefillChunk = 4))
        val failure = EngineFailure(EngineFailure.Kind.OUT_OF_MEMORY, 33, "no")
        engine.failOn = { if (it is FakeEngine.Call.Prefill) failure else null }
        assertEquals(failure, assertThrows(EngineException::class.java) { session.ask(user("Hi")) }.failure)
        engine.failOn = { null }
        engine.calls.clear()
        session.ask(user("Hi"))
        assertEquals(1, resets())
    }

    @Test
    fun `a fault of the engine leaves nothing known of the cache`() {
        val session = session(manifest(prefillChunk = 4))
        engine.failOn = { if (it is FakeEngine.Call.Prefill) error("a fault") else null }
        assertThrows(IllegalStateException::class.java) { session.ask(user("Hi")) }
        engine.failOn = { null }
        engine.calls.clear()
        session.ask(user("Hi"))
        assertEquals(1, resets())
    }

    @Test
    fun `an exception of the listener does not go through the runtime`() {
        val session = session()
        val failure = IllegalStateException("the screen is gone")
        val failing =
            object : AnswerListener {
                override fun onText(text: String) = throw failure
            }
        engine.script("a", "b", "c", STOP)
        val turns = listOf(user("Hi"))
        val thrown =
            assertThrows(IllegalStateException::class.java) { session.answer(turns, GenerationSettings(), failing) }
        assertSame(failure, thrown)
        assertTrue(FakeEngine.Call.Stop in engine.calls)
        engine.calls.clear()
        session.ask(user("Hi"))
        assertEquals(1, resets())
    }

    @Test
    fun `tokens used by a conversation`() {
        val turns = listOf(user("Hi"), assistant("Yes."))
        val expected = FakeEngine.words(CHATML.compose(turns, generate = false)).size
        assertEquals(TokenCount(expected, true), usedTokens(manifest(), WordTokenizer(), turns))
        val settings = GenerationSettings(systemPrompt = "Be kind.")
        val longer = FakeEngine.words(CHATML.compose(listOf(system("Be kind.")) + turns, generate = false)).size
        assertEquals(TokenCount(longer, true), usedTokens(manifest(), WordTokenizer(), turns, settings))
        // What is counted before an answer is what the answer's statistics say was fed.
        val asked = turns + user("Why?")
        val fed = session().ask(*asked.toTypedArray(), settings = settings).statistics.promptTokens
        assertEquals(TokenCount(fed, true), usedTokens(manifest(), WordTokenizer(), asked, settings))
    }

    @Test
    fun `rates that cannot be told`() {
        engine.script(STOP)
        val answer = session().ask(user("Hi"))
        assertEquals(0, answer.statistics.answerTokens)
        assertNull(answer.statistics.decodeTokensPerSecond)
    }
}
