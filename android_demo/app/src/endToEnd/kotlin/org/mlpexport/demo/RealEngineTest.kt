package org.mlpexport.demo

import java.io.File
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.AnswerListener
import org.mlpexport.core.Bundle
import org.mlpexport.core.ChatSession
import org.mlpexport.core.Engine
import org.mlpexport.core.EngineException
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.PromptException
import org.mlpexport.core.Role
import org.mlpexport.core.Tokenizer
import org.mlpexport.core.Turn
import org.mlpexport.demo.engine.ExecuTorchEngine
import org.mlpexport.demo.engine.PackedWeights
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** The app's engine on the real Android library and a real bundle. What the host answered is in the file `answers`. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35])
@GraphicsMode(GraphicsMode.Mode.NATIVE) // as RealAppTest: one sandbox, since a library belongs to one class loader
class RealEngineTest {
    private val opened = mutableListOf<Engine>()

    @After
    fun close() = opened.forEach(Engine::close)

    @Test
    fun `an answer is the host's, in several steps`() {
        val session = session(REAL)
        for ((question, expected) in hostAnswers()) {
            val steps = Steps()
            val answer = session.answer(listOf(user(question)), GREEDY, steps)
            assertEquals(expected, answer.text)
            assertEquals(AnswerEnd.COMPLETE, answer.end)
            assertTrue("${steps.texts}", steps.texts.size > 3)
            assertEquals(expected, steps.texts.last())
        }
    }

    @Test
    fun `a second turn prefills its own text alone, and answers as the whole conversation does`() {
        val first = listOf(user("What is the capital of Japan?"))
        val session = session(REAL)
        val answer = session.answer(first, GREEDY, Steps())
        val second = first + Turn(Role.ASSISTANT, answer.text) + user("And of France?")
        val continued = session.answer(second, GREEDY, Steps())
        val fresh = session(REAL).answer(second, GREEDY, Steps())
        assertEquals(fresh.text, continued.text)
        assertEquals(0, fresh.statistics.cachedTokens)
        assertEquals(
            fresh.statistics.promptTokens,
            continued.statistics.cachedTokens + continued.statistics.promptTokens,
        )
        // The prompt and all of the answer but its last token, which was sampled and never fed.
        assertEquals(
            answer.statistics.promptTokens + answer.statistics.answerTokens,
            continued.statistics.cachedTokens,
        )
    }

    @Test
    fun `another question after one is answered as if it were the first`() {
        val session = session(REAL)
        session.answer(listOf(user("Tell me about rivers.")), GREEDY.copy(maxNewTokens = 9), Steps())
        val (question, expected) = hostAnswers().entries.first()
        assertEquals(expected, session.answer(listOf(user(question)), GREEDY, Steps()).text)
    }

    @Test
    fun `a limit of tokens ends an answer, and the next turn continues it exactly`() {
        // A question with one likely answer: steps and chunks round differently, and a near tie would show that alone.
        val session = session(REAL)
        val first = listOf(user("Tell me about rivers."))
        val cut = session.answer(first, GREEDY.copy(maxNewTokens = 12), Steps())
        assertEquals(AnswerEnd.MAX_TOKENS, cut.end)
        assertEquals(12, cut.statistics.answerTokens)
        val second = first + Turn(Role.ASSISTANT, cut.text) + user("What is the capital of France?")
        val continued = session.answer(second, GREEDY.copy(maxNewTokens = 12), Steps())
        val fresh = session(REAL).answer(second, GREEDY.copy(maxNewTokens = 12), Steps())
        assertEquals(fresh.text, continued.text)
        assertTrue(continued.statistics.cachedTokens > cut.statistics.promptTokens)
    }

    @Test
    fun `stop ends an answer at its first piece and later`() {
        val session = session(REAL)
        for (pieces in listOf(1, 3)) {
            val steps = Steps { it.texts.size >= pieces }
            val answer = session.answer(listOf(user("Tell me a long story about a river.")), GREEDY, steps)
            assertEquals(AnswerEnd.STOPPED, answer.end)
            // The runtime loses a stop on the first token.
            assertTrue("${answer.statistics}", answer.statistics.answerTokens in pieces..pieces + 2)
        }
    }

    @Test
    fun `a long prompt goes in slices, is cancelled between them, and answers the same in the end`() {
        val question = "Here are words: " + "river stone cloud ".repeat(110) + "\nWhat is the capital of Japan?"
        val session = session(REAL)
        val stopped = Steps { it.prefills.size >= 2 }
        val cancelled = session.answer(listOf(user(question)), GREEDY, stopped)
        assertEquals(AnswerEnd.STOPPED, cancelled.end)
        assertEquals("", cancelled.text)
        val fed = cancelled.statistics.promptTokens
        val steps = Steps()
        val answer = session.answer(listOf(user(question)), GREEDY, steps)
        assertEquals(fed, answer.statistics.cachedTokens) // what was fed before the cancel is not fed again
        assertTrue("${steps.prefills}", steps.prefills.size > 2)

        val engine = engine(REAL)
        val whole = StringBuilder()
        val chat = checkNotNull(REAL.manifest.chat)
        val prompt = chat.compose(listOf(user(question)), generate = true)
        val stats = engine.generate(prompt, GREEDY.maxNewTokens, 0f) { whole.append(it) }
        assertEquals(whole.toString().substringBefore(chat.stop.first()), answer.text)
        assertEquals(stats.promptTokens, answer.statistics.cachedTokens + answer.statistics.promptTokens)
    }

    @Test
    fun `the app counts tokens as the runtime's tokenizer does`() {
        val tokenizer = Tokenizer.open(REAL.tokenizer)
        assertEquals(null, tokenizer.inexactBecause)
        val engine = engine(REAL)
        for (text in TEXTS) {
            engine.reset()
            val stats = engine.generate(text, 1, 0f) {}
            assertEquals(text, stats.promptTokens, tokenizer.count(text).tokens)
        }
    }

    @Test
    fun `the last slot of the context is used, and no more`() {
        val context = TINY.manifest.context
        val tokenizer = Tokenizer.open(TINY.tokenizer)
        val prompt = generateSequence("a") { it + "b" }.first { tokenizer.count(it).tokens >= context - 3 }
        val tokens = tokenizer.count(prompt).tokens
        val engine = engine(TINY)
        val pieces = mutableListOf<String>()
        val stats = engine.generate(prompt, context - tokens + 1, 0f, pieces::add)
        assertEquals(context - tokens + 1, stats.generatedTokens)
        engine.reset()
        pieces.clear()
        val full = assertThrows(EngineException::class.java) {
            engine.generate(prompt, context - tokens + 2, 0f, pieces::add)
        }
        assertEquals(EngineFailure.Kind.CONTEXT_FULL, full.failure.kind)
        assertEquals(context - tokens + 1, pieces.size)
        engine.reset() // and the engine works on
        assertEquals(tokens, engine.generate(prompt, 1, 0f) {}.promptTokens)
    }

    @Test
    fun `a prompt that is longer than the context is refused before it is fed`() {
        val refused = assertThrows(PromptException::class.java) {
            session(REAL).answer(listOf(user("word ".repeat(3000))), GREEDY, Steps())
        }
        assertEquals(REAL.manifest.context, refused.context)
    }

    @Test
    fun `what a callback throws arrives as it was`() {
        val thrown = assertThrows(IllegalStateException::class.java) {
            engine(REAL).generate("Once upon a time", 8, 0f) { error("a fault of the screen") }
        }
        assertEquals("a fault of the screen", thrown.message)
    }

    @Test
    fun `damaged and missing files are told apart`() {
        val folder = File.createTempFile("bundle", "").apply { delete() }
        REAL.folder.copyRecursively(folder)
        val bundle = REAL.copy(folder = folder)
        try {
            assertKind(EngineFailure.Kind.NOT_A_PROGRAM, bundle) { bundle.pte.writeText("{}") }
            assertKind(EngineFailure.Kind.NOT_A_PROGRAM, bundle) { bundle.pte.writeBytes(ByteArray(0)) }
            assertKind(EngineFailure.Kind.MISSING_FILE, bundle) { bundle.pte.delete() }
            REAL.pte.copyTo(bundle.pte)
            assertKind(EngineFailure.Kind.NOT_A_PROGRAM, bundle) { bundle.tokenizer.writeText("{}") }
            assertKind(EngineFailure.Kind.MISSING_FILE, bundle) { bundle.tokenizer.delete() }
        } finally {
            folder.deleteRecursively()
        }
    }

    /** ExecuTorch 1.3 takes the request and has no such file yet: what it writes is shown by tests of later runtimes. */
    @Test
    fun `packed weights are asked for where the function is there, and done without where it is not`() {
        val folder = File.createTempFile("packed", "").apply { delete() }
        val runtime = File(checkNotNull(System.getProperty("java.library.path")), "libexecutorch.so")
        val packed = PackedWeights(folder, runtime)
        engine(REAL) // loads the library that the function asks
        assertEquals(false, packed.use(REAL))
        System.load(checkNotNull(System.getProperty("packed.library")))
        assertEquals(true, packed.use(REAL))
        val (question, expected) = hostAnswers().entries.first()
        assertEquals(expected, session(REAL).answer(listOf(user(question)), GREEDY, Steps()).text)
        packed.delete(REAL)
        assertEquals(0L, packed.bytes(REAL))
    }

    private fun assertKind(expected: EngineFailure.Kind, bundle: Bundle, damage: () -> Unit) {
        damage()
        val thrown = assertThrows(EngineException::class.java) { engine(bundle) }
        assertEquals(thrown.failure.toString(), expected, thrown.failure.kind)
        assertNotEquals("", thrown.failure.detail)
    }

    private fun engine(bundle: Bundle): Engine {
        val packed = PackedWeights(File("/nonexistent"), File("/nonexistent"))
        return ExecuTorchEngine(bundle, nativeLibraries = "", packed).also {
            it.load()
            opened += it
        }
    }

    private fun session(bundle: Bundle) =
        ChatSession(engine(bundle), bundle.manifest, Tokenizer.open(bundle.tokenizer))

    private class Steps(private val until: (Steps) -> Boolean = { false }) : AnswerListener {
        val texts = mutableListOf<String>()
        val prefills = mutableListOf<Int>()

        override fun onPrefill(done: Int, total: Int) {
            prefills += done
        }

        override fun onText(text: String) {
            texts += text
        }

        override fun cancelled() = until(this)
    }

    private companion object {
        val REAL = Bundle.open(File(System.getProperty("bundle")))
        val TINY = Bundle.open(File(System.getProperty("tiny.bundle")))
        val GREEDY = GenerationSettings(maxNewTokens = 64)
        val TEXTS = listOf(
            "a",
            "Hello, world! It's 12:30, isn't it?  Two spaces,\ttabs\n\n\nand lines \n",
            "Grüße aus Köln – naïve café, ﬁnal 1234567 3.14",
            "日本語のテキストと中文字符，한국어 문장",
            "🙂👩‍👩‍👧‍👦🏳️‍🌈 emoji, é and é, \u00a0no-break",
            "مرحبا بالعالم שלום עולם हिन्दी ไทย",
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            "def f(x):\n    return x**2  # comment\n",
        )

        fun user(text: String) = Turn(Role.USER, text)
    }
}
