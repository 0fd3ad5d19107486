package org.mlpexport.demo

import org.mlpexport.core.Role
import org.mlpexport.core.Turn

/** What a person can ask of a text in one tap, as the model is asked. Small models follow short instructions best. */
enum class Task(private val instruction: String) {
    SUMMARIZE("Summarize the following text in a few sentences."),
    SHORTER("Rewrite the following text so that it is shorter. Keep its meaning. Answer with the new text only."),
    FORMAL("Rewrite the following text in a more formal tone. Keep its meaning. Answer with the new text only."),
    FRIENDLIER("Rewrite the following text in a friendlier tone. Keep its meaning. Answer with the new text only."),
    ASK("Answer the question about the following text."),
    ;

    /** [question] is for [ASK] alone. */
    fun turns(text: String, question: String = ""): List<Turn> {
        val parts = listOf(instruction, text.trim(), if (this == ASK) "Question: ${question.trim()}" else "")
        return listOf(Turn(Role.USER, parts.filter { it.isNotEmpty() }.joinToString("\n\n")))
    }
}
