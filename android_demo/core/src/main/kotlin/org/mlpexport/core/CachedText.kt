package org.mlpexport.core

/** What the engine's KV cache holds, as text; unknown after a failure, and before the first reset. */
internal class CachedText {
    /** A text and its tokens. */
    data class Held(val text: String, val tokens: Int) {
        fun plus(added: String, count: Int) = Held(text + added, tokens + count)
    }

    private var held: Held? = null

    private var followedBy = "" // what was to come next, where a prompt was fed in part

    val tokens get() = held?.tokens ?: 0

    /** What is to be fed after the cached text to make [text]; null where it does not begin with it, or has no more. */
    fun restOf(text: String): String? {
        val start = held?.text ?: return null
        if (text.length <= start.length || !text.startsWith(start)) return null
        return text.substring(start.length).takeIf { it.startsWith(followedBy) }
    }

    /** The cached text is part of a prompt that goes on with [text]; with another, its last token may be another. */
    fun cutBefore(text: String) {
        followedBy = text.take(LOOKAHEAD)
    }

    fun forget() {
        held = null
    }

    fun put(text: String, tokens: Int) {
        followedBy = ""
        held = Held(text, tokens)
    }

    fun add(text: String, tokens: Int) {
        followedBy = ""
        held = held?.plus(text, tokens)
    }

    /** What is held, which is unknown from here on until it is put. */
    fun take(): Held = checkNotNull(held) { "the engine was not reset" }.also { held = null }

    private companion object {
        const val LOOKAHEAD = 32 // characters; words are split by one or two
    }
}
