package org.mlpexport.demo

import android.content.Context
import android.text.format.Formatter
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.AnswerStatistics
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.Conversation
import org.mlpexport.core.ConversationStore
import org.mlpexport.core.Role

/** What is said of answers and conversations, in the user's language. */
class ConversationTexts(private val context: Context) {
    private val locale get() = context.resources.configuration.locales[0]

    /** How an answer ended; null if well. */
    fun end(message: ChatMessage): String? {
        val nothing = message.text.isBlank()
        val text = when (message.end) {
            null, AnswerEnd.COMPLETE -> return if (nothing) context.getString(R.string.end_empty) else null
            AnswerEnd.STOPPED -> R.string.end_stopped
            AnswerEnd.MAX_TOKENS -> R.string.end_max_tokens
            AnswerEnd.CONTEXT_FULL -> R.string.end_context_full
            AnswerEnd.FAILED -> R.string.end_failed
            AnswerEnd.INTERRUPTED -> if (nothing) R.string.end_interrupted_empty else R.string.end_interrupted
        }
        return context.getString(text)
    }

    /** "35 tokens · 41.2 tok/s · first after 0.6 s". */
    fun line(statistics: AnswerStatistics): String? {
        if (statistics.answerTokens == 0) return null
        val tokens = statistics.answerTokens
        return listOfNotNull(
            context.resources.getQuantityString(R.plurals.stat_tokens, tokens, context.number(tokens)),
            statistics.decodeTokensPerSecond?.let { context.getString(R.string.stat_speed, decimal(it)) },
            context.getString(R.string.stat_first, seconds(statistics.firstTokenMillis)),
        ).joinToString(" · ")
    }

    fun details(statistics: AnswerStatistics): String {
        val memory = Formatter.formatShortFileSize(context, statistics.memoryBytes)
        return listOfNotNull(
            context.getString(R.string.detail_prompt, context.number(statistics.promptTokens)),
            context.getString(R.string.detail_cached, context.number(statistics.cachedTokens)),
            context.getString(R.string.detail_answer, context.number(statistics.answerTokens)),
            context.getString(R.string.detail_first, seconds(statistics.firstTokenMillis)),
            statistics.prefillTokensPerSecond?.let { context.getString(R.string.detail_prefill, decimal(it)) },
            statistics.decodeTokensPerSecond?.let { context.getString(R.string.detail_decode, decimal(it)) },
            context.getString(R.string.detail_memory, memory).takeIf { statistics.memoryBytes > 0 },
        ).joinToString("\n")
    }

    fun export(conversation: Conversation) = ConversationStore.export(conversation) { role ->
        context.getString(
            when (role) {
                Role.SYSTEM -> R.string.system_prompt
                Role.USER -> R.string.you
                Role.ASSISTANT -> R.string.model
            },
        )
    }

    private fun decimal(value: Double) = "%.1f".format(locale, value)

    private fun seconds(milliseconds: Long) =
        (if (milliseconds < 1000) "%.2f" else "%.1f").format(locale, milliseconds / 1000.0)
}
