package org.mlpexport.demo

import android.os.Bundle
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.Role
import org.mlpexport.core.Turn

/** What was asked about a document and answered; can be saved apart from the document, which is read again. */
class DocumentTalk {
    private var first: Pair<Task, String>? = null

    /** What the next question goes on from. */
    val turns = mutableListOf<Turn>()

    /** What is shown. */
    val messages = mutableListOf<ChatMessage>()

    /** The turns that ask [question] about [document], which comes with the first one only. */
    fun ask(document: String, question: String, task: Task): List<Turn> {
        if (turns.isNotEmpty()) return turns + Turn(Role.USER, question)
        first = task to question
        return task.turns(document, question)
    }

    /** Keeps what is answered; where that is too long for a saved state, nothing. */
    fun save(state: Bundle) {
        val (task, question) = first ?: return
        val said = turns.drop(task.turns("", question).size).map { it.content }
        val shown = messages.dropLastWhile { it.role == Role.USER } // whose answer is not there yet
        if (said.isEmpty() || said.sumOf { it.length } + shown.sumOf { it.text.length } > MOST_CHARACTERS) return
        state.putString(TASK, task.name)
        state.putString(QUESTION, question)
        state.putStringArrayList(SAID, ArrayList(said))
        state.putStringArrayList(SHOWN, ArrayList(shown.map { it.text }))
        state.putStringArrayList(ENDS, ArrayList(shown.map { it.end?.name.orEmpty() }))
    }

    /** Goes on from what [save] kept, with the [document] that was read again. */
    fun restore(state: Bundle, document: String) {
        val task = state.getString(TASK)?.let(Task::valueOf) ?: return
        turns += ask(document, state.getString(QUESTION).orEmpty(), task)
        state.getStringArrayList(SAID).orEmpty().forEachIndexed { index, text ->
            turns += Turn(if (index % 2 == 0) Role.ASSISTANT else Role.USER, text)
        }
        val ends = state.getStringArrayList(ENDS).orEmpty()
        state.getStringArrayList(SHOWN).orEmpty().forEachIndexed { index, text ->
            val end = AnswerEnd.entries.find { it.name == ends.getOrNull(index) }
            messages += ChatMessage("$index", if (index % 2 == 0) Role.USER else Role.ASSISTANT, text, 0, end)
        }
    }

    private companion object {
        const val TASK = "task"
        const val QUESTION = "question"
        const val SAID = "said"
        const val SHOWN = "shown"
        const val ENDS = "ends"

        // The system takes about a megabyte for all screens of the app.
        const val MOST_CHARACTERS = 100_000
    }
}
