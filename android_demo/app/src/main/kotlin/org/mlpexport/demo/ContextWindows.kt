package org.mlpexport.demo

import android.content.Context

/** Of a conversation that outgrew the context: the first message that the model is still given. */
class ContextWindows(context: Context) {
    private val store = context.getSharedPreferences("windows", Context.MODE_PRIVATE)

    /** The message's id; null: the model is given all. */
    operator fun get(conversation: String): String? = store.getString(conversation, null)

    operator fun set(conversation: String, firstMessage: String) {
        store.edit().putString(conversation, firstMessage).apply()
    }

    fun forget(conversation: String) = store.edit().remove(conversation).apply()
}
