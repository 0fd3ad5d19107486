package org.mlpexport.core

enum class Role { SYSTEM, USER, ASSISTANT }

/** One turn as the model sees it. */
data class Turn(val role: Role, val content: String)

/** A chat template as strings: `chat` of the manifest. `compose` of mlp_export/text/chat.py is the reference. */
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
) {
    val takesSystem get() = systemPrefix != null && systemSuffix != null

    /**
     * What the template renders; with [generate], up to where the assistant is to speak. Turns whose index and content
     * are in [asAnswered] are not trimmed: the model wrote them so.
     *
     * Throws [PromptException] for a system message where the template takes none.
     */
    fun compose(turns: List<Turn>, generate: Boolean = true, asAnswered: Map<Int, String> = emptyMap()): String =
        buildString {
            append(bos)
            if (defaultSystem != null && turns.firstOrNull()?.role != Role.SYSTEM) {
                appendTurn(Turn(Role.SYSTEM, defaultSystem), trim)
            }
            turns.forEachIndexed { index, turn -> appendTurn(turn, trim && asAnswered[index] != turn.content) }
            if (generate) append(assistantPrefix)
        }

    private fun StringBuilder.appendTurn(turn: Turn, trims: Boolean) {
        val prefix = prefix(turn.role) ?: throw PromptException(PromptProblem.NO_SYSTEM_ROLE)
        append(prefix).append(if (trims) turn.content.trim(::isPythonSpace) else turn.content).append(suffix(turn.role))
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
