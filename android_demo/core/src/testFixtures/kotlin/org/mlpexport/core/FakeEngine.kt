package org.mlpexport.core

import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.Semaphore

/**
 * An engine that gives scripted pieces and has the habits of the real one: the KV cache fails beyond [context], the
 * last piece of an answer is not in it, and a [stop] before or on the first piece is lost. Tokens are counted by
 * [tokens].
 */
class FakeEngine(
    private val context: Int = 128,
    private val tokens: (String) -> Int = { words(it).size },
) : Engine {
    sealed interface Call {
        data object Load : Call

        data class Prefill(val text: String) : Call

        data class Generate(val text: String, val maxNewTokens: Int, val temperature: Float) : Call

        data object Stop : Call

        data object Reset : Call

        data object Close : Call
    }

    /** All calls so far, in their order. */
    val calls = CopyOnWriteArrayList<Call>()

    /** Asked before each call but stop and close: a failure to throw, or null. */
    @Volatile var failOn: (Call) -> EngineFailure? = { null }

    /** Asked after each piece of an answer with its index: a failure to throw, or null. */
    @Volatile var failAfterPiece: (Int) -> EngineFailure? = { null }

    /** What an answer without a script is. */
    @Volatile var otherwise: List<String> = listOf("Yes", ".", "<|im_end|>")

    /** The text in the KV cache. */
    @Volatile var cache = ""
        private set

    /** Tokens in the KV cache. */
    @Volatile var position = 0
        private set

    @Volatile private var gate: Semaphore? = null
    @Volatile private var stopping = false
    private val scripts = LinkedBlockingQueue<List<String>>()

    /** Queues an answer: its pieces, the last one a stop token's spelling where the model is to end by itself. */
    fun script(vararg pieces: String) {
        scripts.add(pieces.toList())
    }

    /** From now on loads, prefills and pieces wait for [step]. */
    fun pause() {
        gate = Semaphore(0)
    }

    /** Lets [steps] loads, prefills or pieces happen. */
    fun step(steps: Int = 1) {
        gate?.release(steps)
    }

    /** Ends [pause]. */
    fun resume() {
        val waiting = gate
        gate = null
        waiting?.release(Int.MAX_VALUE / 2)
    }

    override fun load() = enter(Call.Load)

    override fun prefill(text: String) {
        enter(Call.Prefill(text))
        add(text)
    }

    override fun generate(
        text: String,
        maxNewTokens: Int,
        temperature: Float,
        onPiece: (String) -> Unit,
    ): EngineStats {
        calls += Call.Generate(text, maxNewTokens, temperature)
        failOn(calls.last())?.let { throw EngineException(it) }
        if (text.isEmpty()) throw EngineException(EngineFailure(EngineFailure.Kind.UNKNOWN, 2, "empty prompt"))
        add(text)
        val pieces = (scripts.poll() ?: otherwise).take(maxNewTokens)
        var given = 0
        for ((index, piece) in pieces.withIndex()) {
            gate?.acquire()
            if (index > 0) add(pieces[index - 1], tokens = 1)
            onPiece(piece)
            given++
            failAfterPiece(index)?.let { throw EngineException(it) }
            if (index == 0) stopping = false
            if (stopping) break
        }
        return EngineStats(tokens(text), given, prefillMillis = 1000, decodeMillis = 100L * maxOf(given - 1, 0))
    }

    override fun stop() {
        calls += Call.Stop
        stopping = true
    }

    override fun reset() {
        enter(Call.Reset, waits = false)
        cache = ""
        position = 0
    }

    override fun close() {
        calls += Call.Close
    }

    private fun enter(call: Call, waits: Boolean = true) {
        calls += call
        if (waits) gate?.acquire()
        failOn(call)?.let { throw EngineException(it) }
    }

    private fun add(text: String, tokens: Int = this.tokens(text)) {
        if (position + tokens > context) {
            val detail = "Attempted to resize a bounded tensor to ${position + tokens} elements"
            throw EngineException(EngineFailure(EngineFailure.Kind.CONTEXT_FULL, 0x12, detail))
        }
        cache += text
        position += tokens
    }

    companion object {
        /** A token for each word with its space, mark or special token. */
        fun words(text: String): List<String> = WORD.findAll(text).map { it.value }.toList()

        private val WORD = Regex("""<\|\w+\|>| ?\w+|\s|[^\w\s]""")
    }
}
