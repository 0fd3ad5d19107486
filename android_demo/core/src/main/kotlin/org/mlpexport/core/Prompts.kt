package org.mlpexport.core

/** Why a prompt was refused. [tokens] and [context] are there where numbers matter. */
class PromptException(
    val problem: PromptProblem,
    val detail: String = "",
    val tokens: TokenCount? = null,
    val context: Int? = null,
    cause: Throwable? = null,
) : Exception(listOfNotNull(problem, detail, tokens?.tokens, context).joinToString(" "), cause)

enum class PromptProblem {
    EMPTY, // nothing to answer
    TOO_LONG, // as many tokens as the context or more: no room for an answer
    SPECIAL_TOKEN, // a message spells one; detail: its spelling
    NO_SYSTEM_ROLE, // the chat template takes no system message
}

/**
 * Tokens that [turns] take of the context as a [ChatSession] would feed them, with the start of the answer that the
 * user's last one is due. Throws [PromptException] for a system message where the template takes none.
 */
fun usedTokens(
    manifest: Manifest,
    tokenizer: Tokenizer,
    turns: List<Turn>,
    settings: GenerationSettings = GenerationSettings(),
): TokenCount {
    val prompts = Prompts(manifest, tokenizer)
    val due = turns.lastOrNull()?.role == Role.USER
    return tokenizer.count(prompts.compose(prompts.turns(turns, settings), generate = due))
}

/** Turns as the text that the model is given. A model without a chat format continues the turns' plain text. */
internal class Prompts(private val manifest: Manifest, private val tokenizer: Tokenizer) {
    /** [turns] as the model is given them. Throws [PromptException] where they cannot be answered. */
    fun check(turns: List<Turn>, settings: GenerationSettings): List<Turn> {
        val last = turns.lastOrNull()
        if (last == null || last.role != Role.USER || last.content.isBlank()) throw PromptException(PromptProblem.EMPTY)
        val all = turns(turns, settings)
        for (turn in all) {
            if (turn.role == Role.ASSISTANT) continue
            tokenizer.specialIn(turn.content)?.let { throw PromptException(PromptProblem.SPECIAL_TOKEN, it) }
        }
        return all
    }

    /** [turns] as the model is given them: with the system message of [settings], unless they have one, and normalized. */
    fun turns(turns: List<Turn>, settings: GenerationSettings): List<Turn> =
        withSystem(turns, settings).map { it.copy(content = manifest.tokenizer.normalize(it.content)) }

    private fun withSystem(turns: List<Turn>, settings: GenerationSettings): List<Turn> {
        val system = settings.systemPrompt
        if (system == null || turns.firstOrNull()?.role == Role.SYSTEM) return turns
        if (system.isBlank() && manifest.chat?.takesSystem != true) return turns
        return listOf(Turn(Role.SYSTEM, system)) + turns
    }

    fun compose(turns: List<Turn>, generate: Boolean): String {
        val chat = manifest.chat
        if (chat != null) return chat.compose(turns, generate)
        if (turns.any { it.role == Role.SYSTEM }) throw PromptException(PromptProblem.NO_SYSTEM_ROLE)
        val bos = if (manifest.tokenizer.addBos) tokenizer.spelling(manifest.tokenizer.bosId).orEmpty() else ""
        return bos + turns.joinToString("") { it.content }
    }
}
