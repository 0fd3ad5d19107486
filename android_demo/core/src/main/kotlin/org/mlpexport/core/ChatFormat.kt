package org.mlpexport.core

enum class Role { SYSTEM, USER, ASSISTANT }

/** One turn as the model sees it. */
data class Turn(val role: Role, val content: String)

/**
 * A chat template as strings: `chat` of the manifest. `compose` of mlp_export/text/chat.py is the reference. What may be
 * absent there has a default here.
 */
data class ChatFormat(
    val bos: String,
    val systemPrefix: String?,
    val systemSuffix: String?,
    val userPrefix: String,
    val userSuffix: String,
    val assistantPrefix: String,
    val assistantSuffix: String,
    val defaultSystem: String?,
    val trim: Boolean,
    val stop: List<String>,
    val generationPrompt: String = assistantPrefix, // where the assistant is to speak
    val reasoningEnd: String? = null, // of an answer, all up to and with the last one of it is dropped
    val reasoningTrim: Trim = Trim.NONE, // what is stripped from the start of what is left then
    val answerTrimStart: Trim = Trim.of(trim), // what is stripped from an answer, after that
    val answerTrimEnd: Trim = Trim.of(trim),
) {
    val takesSystem get() = systemPrefix != null && systemSuffix != null

    /** What is stripped from an end of a text. */
    enum class Trim(internal val drops: (Char) -> Boolean) {
        NONE({ false }),
        NEWLINES({ it == '\n' }),
        WHITESPACE(::isPythonSpace),
        ;

        internal companion object {
            fun of(trim: Boolean) = if (trim) WHITESPACE else NONE
        }
    }

    /**
     * What the template renders; with [generate], up to where the assistant is to speak.
     *
     * Throws [PromptException] for a system message where the template takes none.
     */
    fun compose(turns: List<Turn>, generate: Boolean = true): String =
        buildString {
            append(bos)
            if (defaultSystem != null && turns.firstOrNull()?.role != Role.SYSTEM) {
                appendTurn(Turn(Role.SYSTEM, defaultSystem))
            }
            turns.forEach { appendTurn(it) }
            if (generate) append(generationPrompt)
        }

    private fun StringBuilder.appendTurn(turn: Turn) {
        val prefix = prefix(turn.role) ?: throw PromptException(PromptProblem.NO_SYSTEM_ROLE)
        val text = if (turn.role == Role.ASSISTANT) ofAnswer(turn.content) else turn.content.trim(Trim.of(trim).drops)
        append(prefix).append(text).append(suffix(turn.role))
    }

    private fun ofAnswer(answer: String): String {
        var said = answer
        if (reasoningEnd != null && reasoningEnd in said) {
            said = said.substringAfterLast(reasoningEnd).trimStart(reasoningTrim.drops)
        }
        return said.trimStart(answerTrimStart.drops).trimEnd(answerTrimEnd.drops)
    }

    private fun prefix(role: Role): String? =
        when (role) {
            Role.SYSTEM -> systemPrefix.takeIf { takesSystem }
            Role.USER -> userPrefix
            Role.ASSISTANT -> assistantPrefix
        }

    private fun suffix(role: Role): String =
        when (role) {
            Role.SYSTEM -> systemSuffix.orEmpty()
            Role.USER -> userSuffix
            Role.ASSISTANT -> assistantSuffix
        }
}
