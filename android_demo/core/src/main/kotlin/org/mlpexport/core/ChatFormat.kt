package org.mlpexport.core

enum class Role { SYSTEM, USER, ASSISTANT }

/** One turn as the model sees it. */
data class Turn(val role: Role, val content: String)

/** A chat template as strings: `chat` of the manifest. `ChatFormat.compose` of mlp_export/chat.py is the reference. */
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
    val takesSystem get() = systemPrefix != null
}
