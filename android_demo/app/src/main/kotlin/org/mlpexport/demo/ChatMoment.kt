package org.mlpexport.demo

import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.Bundle
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.Conversation
import org.mlpexport.core.PromptException
import org.mlpexport.core.PromptProblem
import org.mlpexport.core.Role
import org.mlpexport.core.TokenCount
import java.io.IOException

/** All that a chat's screen shows at one moment, and what follows from it. */
data class ChatMoment(
    val bundle: Bundle?, // null: it was deleted
    val bundleName: String,
    val obstacle: String?, // why the bundle must not be asked
    val conversation: Conversation?, // null: nothing was sent yet
    val window: Int, // index of the first message that the model is given
    val state: ModelHost.State,
    val mine: Boolean, // the state is about this conversation
    val editing: Boolean,
    val used: TokenCount?, // of the context, the draft included; null: not counted yet
    val dismissed: ModelHost.State?, // a failure that was read
    val storeProblem: IOException?,
) {
    val busy get() = state is ModelHost.State.Loading || state is ModelHost.State.Working
    val answering get() = busy && mine
    val last get() = conversation?.messages?.lastOrNull()

    /** Why the last answer failed, until that was read. */
    val failure get() = (state as? ModelHost.State.Failed)?.takeIf { mine && it !== dismissed }?.problem

    /** The answer as the model has it, which is newer than the store's. */
    val liveText: String?
        get() = when {
            !mine -> null
            state is ModelHost.State.Working -> state.text
            state is ModelHost.State.Done -> state.answer.text
            state is ModelHost.State.Failed -> state.text
            else -> null
        }

    /** There is no room for another answer. */
    val isFull: Boolean
        get() {
            val context = bundle?.manifest?.context ?: return false
            val failure = failure
            if (failure is PromptException && failure.problem == PromptProblem.TOO_LONG) return true
            if (used == null) return last?.end == AnswerEnd.CONTEXT_FULL
            return last != null && used.tokens >= context - LEAST_ANSWER
        }

    /** Something can be dropped: the last question is always kept. */
    val canDrop get() = conversation?.messages.orEmpty().drop(window).count { it.role == Role.USER } > 1

    private companion object {
        const val LEAST_ANSWER = 8 // tokens: less is no answer
    }
}

private val UNFINISHED =
    setOf(AnswerEnd.STOPPED, AnswerEnd.INTERRUPTED, AnswerEnd.MAX_TOKENS, AnswerEnd.FAILED, AnswerEnd.CONTEXT_FULL)

/** The rows of [moment]'s messages from index [from] on. */
fun chatRows(moment: ChatMoment, from: Int, texts: ConversationTexts): List<MessageList.Row> {
    val messages = moment.conversation?.messages ?: return emptyList()
    val rows = mutableListOf<MessageList.Row>()
    if (from > 0) rows += MessageList.Row.Earlier
    for ((index, message) in messages.withIndex().drop(from)) {
        if (index == moment.window && index > 0) rows += MessageList.Row.Dropped
        rows += when (message.role) {
            Role.USER -> MessageList.Row.User(message, editable = moment.bundle != null && !moment.busy)
            else -> modelRow(moment, message, isLast = index == messages.lastIndex, texts)
        }
    }
    return rows
}

private fun modelRow(
    moment: ChatMoment,
    message: ChatMessage,
    isLast: Boolean,
    texts: ConversationTexts,
): MessageList.Row.Model {
    val live = isLast && moment.answering
    val canAsk = isLast && moment.bundle != null && !moment.busy
    return MessageList.Row.Model(
        if (isLast) message.copy(text = moment.liveText ?: message.text) else message,
        live,
        end = if (live) null else texts.end(message),
        statistics = message.statistics?.let(texts::line),
        again = canAsk,
        goOn = canAsk && !moment.isFull && message.text.isNotBlank() && message.end in UNFINISHED,
    )
}
