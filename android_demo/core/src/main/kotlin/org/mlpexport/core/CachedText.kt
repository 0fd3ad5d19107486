package org.mlpexport.core

/** What the engine's KV cache holds, as text; unknown after a failure, and before the first reset. */
internal class CachedText {
    /** A text and its tokens. */
    data class Held(val text: String, val tokens: Int) {
        fun plus(added: String, count: Int) = Held(text + added, tokens + count)
    }

    private var held: Held? = null

    /** Index of a turn -> the answer that the model gave there, whose white space is cached as it was generated. */
    var answers = emptyMap<Int, String>()
        private set

    /** Null where it is not known. */
    val text get() = held?.text
    val tokens get() = held?.tokens ?: 0

    fun forget() {
        held = null
        answers = emptyMap()
    }

    fun put(text: String, tokens: Int) {
        held = Held(text, tokens)
    }

    fun add(text: String, tokens: Int) {
        held = held?.plus(text, tokens)
    }

    /** What is held, which is unknown from here on until it is put. */
    fun take(): Held = checkNotNull(held) { "the engine was not reset" }.also { held = null }

    fun answered(index: Int, text: String) {
        if (held != null) answers = answers + (index to text)
    }
}
