package org.mlpexport.demo

import android.content.Intent
import android.os.Bundle
import android.os.SystemClock
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import androidx.test.platform.app.InstrumentationRegistry
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.AnswerListener
import org.mlpexport.core.ChatSession
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.Role
import org.mlpexport.core.Tokenizer
import org.mlpexport.core.Turn
import org.mlpexport.demo.engine.ExecuTorchEngine

/**
 * On a device or emulator, with a bundle that was pushed: `am instrument -e bundle NAME -e question TEXT -e tokens N`, and
 * `-e expected TEXT` where the answer is known. What was measured is sent as the test's status, for `tools device`.
 */
class GenerationTest {
    private val arguments = InstrumentationRegistry.getArguments()
    private val instrumentation = InstrumentationRegistry.getInstrumentation()
    private val app = instrumentation.targetContext.applicationContext as MlpApplication
    private val bundle by lazy {
        val name = checkNotNull(arguments.getString("bundle")) { "no -e bundle NAME was given" }
        checkNotNull(app.bundles.find(name)) { "there is no usable bundle $name: ${app.bundles.list()}" }
    }
    private val engine by lazy {
        ExecuTorchEngine(bundle, app.applicationInfo.nativeLibraryDir, app.packedWeights).also { it.load() }
    }

    @After
    fun close() = engine.close()

    @Test
    fun answersAndContinues() {
        val question = arguments.getString("question") ?: "What is the capital of Japan?"
        val settings = GenerationSettings(maxNewTokens = arguments.getString("tokens")?.toInt() ?: 64)
        val texts = mutableListOf<String>()
        val listener = object : AnswerListener {
            override fun onText(text: String) {
                texts += text
            }
        }
        val session = ChatSession(engine, bundle.manifest, Tokenizer.open(bundle.tokenizer))
        val turns = listOf(Turn(Role.USER, question))
        val answer = session.answer(turns, settings, listener)
        assertEquals(answer.text, texts.last())
        assertFalse(answer.text.isBlank())
        arguments.getString("expected")?.let { assertEquals(it, answer.text) }

        val next = turns + Turn(Role.ASSISTANT, answer.text) + Turn(Role.USER, "Why?")
        val second = session.answer(next, settings.copy(maxNewTokens = 4), listener)
        assertTrue("${second.statistics}", second.statistics.cachedTokens > answer.statistics.promptTokens)
        assertTrue(second.end in listOf(AnswerEnd.COMPLETE, AnswerEnd.MAX_TOKENS))

        val statistics = answer.statistics
        instrumentation.sendStatus(
            0,
            Bundle().apply {
                putString("answer", answer.text.replace("\n", "\\n"))
                putString("prompt_tokens", "${statistics.promptTokens}")
                putString("answer_tokens", "${statistics.answerTokens}")
                putString("first_token_ms", "${statistics.firstTokenMillis}")
                statistics.prefillTokensPerSecond?.let { putString("prefill_tok_s", "%.1f".format(null, it)) }
                statistics.decodeTokensPerSecond?.let { putString("decode_tok_s", "%.1f".format(null, it)) }
            },
        )
    }

    @Test
    fun theListOfModelsShowsIt() {
        val intent = Intent(app, BundlesActivity::class.java).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK)
        val activity = instrumentation.startActivitySync(intent)
        try {
            val title = bundle.manifest.model.id.substringAfterLast('/')
            val end = SystemClock.elapsedRealtime() + LIST_MILLIS
            var shown = emptyList<String>()
            while (title !in shown && SystemClock.elapsedRealtime() < end) {
                Thread.sleep(50)
                instrumentation.runOnMainSync { shown = texts(activity.window.decorView) }
            }
            assertTrue("“$title” in $shown", title in shown)
        } finally {
            instrumentation.runOnMainSync(activity::finish)
        }
    }

    private fun texts(view: View): List<String> = when {
        view.visibility != View.VISIBLE -> emptyList()
        view is TextView -> listOf(view.text.toString())
        view is ViewGroup -> (0 until view.childCount).flatMap { texts(view.getChildAt(it)) }
        else -> emptyList()
    }

    private companion object {
        // The runtime's library is loaded before the first list, which takes an emulator seconds.
        const val LIST_MILLIS = 30_000
    }
}
