package org.mlpexport.core

/** What a user sets for each bundle. */
data class GenerationSettings(
    val systemPrompt: String? = null, // null: the template's own
    val temperature: Float = 0f,
    val maxNewTokens: Int = 512,
)

/** What a [ChatSession] tells while it works; called on its thread. */
interface AnswerListener {
    /** [done] of [total] tokens of the prompt are in the KV cache. */
    fun onPrefill(done: Int, total: Int) {}

    /** All visible text so far: stop strings and halves of characters are held back. */
    fun onText(text: String)
}

data class Answer(val text: String, val end: AnswerEnd, val statistics: AnswerStatistics)
