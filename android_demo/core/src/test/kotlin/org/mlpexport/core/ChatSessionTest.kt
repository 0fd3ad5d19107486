package org.mlpexport.core

import org.junit.Assert.assertEquals
import org.junit.Test

class ChatSessionTest {
    private val engine = FakeEngine()
    private val shown = ArrayList<String>()
    private val listener =
        object : AnswerListener {
            override fun onText(text: String) {
                shown += text
            }
        }

    @Test
    fun `an answer without its stop token`() {
        engine.script("Par", "is", ".", "<|im_end|>")
        val answer = ChatSession(engine, manifest(), WordTokenizer()).answer(user("Hi?"), GenerationSettings(), listener)
        assertEquals("Paris.", answer.text)
        assertEquals(AnswerEnd.COMPLETE, answer.end)
        assertEquals(listOf("Par", "Paris", "Paris."), shown)
    }

    private fun user(text: String) = listOf(Turn(Role.USER, text))
}
