package org.mlpexport.core

/** A stored conversation: what the screens show and what the model is given. */
data class Conversation(
    val id: String,
    val title: String,
    val bundle: String, // the folder's name
    val systemPrompt: String?, // null: the template's own
    val created: Long, // milliseconds since the epoch
    val changed: Long,
    val messages: List<ChatMessage>,
)

data class ChatMessage(
    val id: String,
    val role: Role,
    val text: String,
    val time: Long,
    val end: AnswerEnd? = null, // of an answer
    val statistics: AnswerStatistics? = null,
)

/** How an answer ended; INTERRUPTED is what a killed process leaves. */
enum class AnswerEnd { COMPLETE, STOPPED, MAX_TOKENS, CONTEXT_FULL, FAILED, INTERRUPTED }

data class AnswerStatistics(
    val promptTokens: Int, // that this turn added to the KV cache
    val cachedTokens: Int, // that were there already
    val answerTokens: Int,
    val firstTokenMillis: Long, // from asking to the first visible text
    val prefillTokensPerSecond: Double?, // null: too short to tell
    val decodeTokensPerSecond: Double?,
    val memoryBytes: Long, // of the process, resident
)
