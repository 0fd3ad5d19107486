package org.mlpexport.demo

import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.Bundle
import org.mlpexport.core.Conversation
import org.mlpexport.core.ConversationStore
import org.mlpexport.core.Role
import org.mlpexport.core.Turn
import java.io.IOException

/**
 * Asks the model for the answers of conversations, and stores what comes whether or not a screen shows it. Public
 * functions belong to the main thread and throw IOException where the disk is full; those of [ModelHost.Recorder] are
 * called on the model's thread.
 */
class Chats(
    private val store: ConversationStore,
    private val models: ModelHost,
    private val settings: BundleSettings,
    private val windows: ContextWindows,
) : ModelHost.Recorder {
    private class Pending(val conversation: String, val message: String) {
        var written = System.nanoTime()
    }

    @Volatile private var pending: Pending? = null

    /** Why the newest text could not be stored; null where it was. */
    @Volatile var storageProblem: IOException? = null
        private set

    init {
        models.recorder = this
    }

    /**
     * Stores [text] as the user's, in a new conversation if [conversation] is null, and asks for an answer. The
     * conversation's id; null while another request runs: then nothing is stored.
     */
    fun send(conversation: String?, bundle: Bundle, text: String): String? {
        if (models.busy) return null
        val name = bundle.folder.name
        return answer(bundle) {
            val id = conversation ?: store.create(name, settings[name].systemPrompt).id
            store.addUser(id, text)
            Pending(id, store.startAnswer(id).id)
        }
    }

    /** [text] in place of the user's [message]; what followed it is dropped. */
    fun resend(conversation: String, bundle: Bundle, message: String, text: String): Boolean {
        if (models.busy) return false
        val asked = answer(bundle) {
            store.addUser(conversation, text, replaces = message)
            Pending(conversation, store.startAnswer(conversation).id)
        }
        return asked != null
    }

    /** Another answer to the last message of the user; [temperature] in place of the settings', if given. */
    fun answerAgain(conversation: String, bundle: Bundle, temperature: Float? = null): Boolean {
        if (models.busy) return false
        val messages = store.read(conversation)?.messages.orEmpty()
        val question = messages.indexOfLast { it.role == Role.USER }
        if (question < 0) return false
        val old = messages.getOrNull(question + 1)?.id
        val asked = answer(bundle, temperature) {
            Pending(conversation, store.startAnswer(conversation, replaces = old).id)
        }
        return asked != null
    }

    /** What the model is given: without empty answers, and without what is before the window. */
    fun turns(conversation: Conversation): List<Turn> =
        conversation.messages.drop(windowStart(conversation)).filter { it.text.isNotBlank() }
            .map { Turn(it.role, it.text) }

    /** Index of the first message that the model is given. */
    fun windowStart(conversation: Conversation): Int {
        val first = windows[conversation.id] ?: return 0
        return maxOf(conversation.messages.indexOfFirst { it.id == first }, 0)
    }

    fun delete(conversation: String) {
        if (pending?.conversation == conversation) {
            pending = null
            models.stop()
        }
        store.delete(conversation)
        windows.forget(conversation)
    }

    /** Stores what [change] does at once, and asks for the answer that it started. */
    private fun answer(bundle: Bundle, temperature: Float? = null, change: () -> Pending): String? {
        val started = store.atOnce(change)
        val conversation = started.conversation
        val all = store.read(conversation) ?: throw IOException("the conversation is gone")
        storageProblem = null
        pending = started
        val wanted = settings[bundle.folder.name].copy(systemPrompt = all.systemPrompt)
        val used = if (temperature == null) wanted else wanted.copy(temperature = temperature)
        val submitted = models.submit(ModelHost.Request(bundle, turns(all), used, tag(conversation)))
        return conversation.takeIf { submitted }
    }

    override fun onText(request: ModelHost.Request, text: String) {
        val now = System.nanoTime()
        val pending = pendingOf(request) ?: return
        if (now - pending.written < WRITE_NANOS) return
        pending.written = now
        storing { store.updateAnswer(pending.conversation, pending.message, text) }
    }

    override fun onEnd(request: ModelHost.Request, end: ModelHost.State) {
        val (conversation, message) = pendingOf(request)?.let { it.conversation to it.message } ?: return
        pending = null
        storing {
            if (end is ModelHost.State.Done) store.endAnswer(conversation, message, end.answer)
            if (end is ModelHost.State.Failed) {
                store.updateAnswer(conversation, message, end.text)
                store.endAnswer(conversation, message, AnswerEnd.FAILED)
            }
        }
    }

    private fun pendingOf(request: ModelHost.Request) = pending?.takeIf { tag(it.conversation) == request.tag }

    /** A full disk is not to end the answer, which is on the screen. */
    private fun storing(write: () -> Unit) {
        try {
            write()
        } catch (problem: IOException) {
            storageProblem = problem
        }
    }

    companion object {
        private const val WRITE_NANOS = 1_000_000_000L

        fun tag(conversation: String) = "chat/$conversation"
    }
}
