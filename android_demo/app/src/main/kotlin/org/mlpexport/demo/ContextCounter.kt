package org.mlpexport.demo

import android.os.Handler
import android.os.Looper
import org.mlpexport.core.Bundle
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.PromptException
import org.mlpexport.core.Role
import org.mlpexport.core.TokenCount
import org.mlpexport.core.Tokenizer
import org.mlpexport.core.Turn
import org.mlpexport.core.usedTokens
import java.util.concurrent.Executor

/** Counts the tokens of conversations away from the main thread, on which it answers. */
class ContextCounter(private val tokenizers: (Bundle) -> Tokenizer, private val worker: Executor) {
    private val main = Handler(Looper.getMainLooper())

    @Volatile private var newest = 0 // written by the main thread alone

    /** Tokens of [turns] as the model will be given them. Only the newest of several questions is answered. */
    fun count(bundle: Bundle, system: String?, turns: List<Turn>, result: (TokenCount) -> Unit) {
        val question = ++newest
        worker.execute {
            if (question != newest) return@execute // each key of the draft asks, and a count may take longer
            val tokens = tokens(bundle, system, turns)
            main.post { if (question == newest) result(tokens) }
        }
    }

    /**
     * The oldest of [messages] with which a conversation may go on so that half of the context is free again: a user's,
     * and at least the last one is kept. Null where that one alone does not fit.
     */
    fun cut(bundle: Bundle, system: String?, messages: List<ChatMessage>, result: (ChatMessage?) -> Unit) {
        worker.execute {
            val starts = messages.indices.filter { messages[it].role == Role.USER }
            fun tokensFrom(start: Int): Int {
                val turns = messages.drop(start).filter { it.text.isNotBlank() }.map { Turn(it.role, it.text) }
                return tokens(bundle, system, turns).tokens
            }
            val context = bundle.manifest.context
            val start = starts.drop(1).firstOrNull { tokensFrom(it) <= context / 2 }
                ?: starts.lastOrNull()?.takeIf { tokensFrom(it) < context }
            main.post { result(start?.let(messages::get)) }
        }
    }

    private fun tokens(bundle: Bundle, system: String?, turns: List<Turn>): TokenCount = try {
        usedTokens(bundle.manifest, tokenizers(bundle), turns, GenerationSettings(systemPrompt = system))
    } catch (_: PromptException) {
        TokenCount(0, exact = false) // refused for another reason than its length
    }
}
