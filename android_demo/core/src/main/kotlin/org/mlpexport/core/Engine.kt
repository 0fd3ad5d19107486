package org.mlpexport.core

/**
 * One loaded model with its KV cache. All calls block and belong to one thread, but for [stop], which any thread may
 * call. Every function but [stop] and [close] throws [EngineException].
 */
interface Engine : AutoCloseable {
    fun load()

    /** Adds [text] to the KV cache. Cannot be stopped: callers give slices and look between them. */
    fun prefill(text: String)

    /**
     * Adds [text] to the KV cache and generates up to [maxNewTokens]. [onPiece] gets each piece as the runtime gives
     * it, the spelling of a stop token included. Ends early after [stop].
     */
    fun generate(text: String, maxNewTokens: Int, temperature: Float, onPiece: (String) -> Unit): EngineStats

    /** Ends a running [generate]; the runtime loses it on a first token, so callers repeat it while pieces come. */
    fun stop()

    /** Empties the KV cache. */
    fun reset()
}

/** What one [Engine.generate] took. [generatedTokens] counts what was sampled, a stop token included. */
data class EngineStats(
    val promptTokens: Int,
    val generatedTokens: Int,
    val prefillMillis: Long,
    val decodeMillis: Long,
)

class EngineException(val failure: EngineFailure, cause: Throwable? = null) : Exception(failure.toString(), cause)

/** [code] is ExecuTorch's error number where it gave one; [detail] what it said. */
data class EngineFailure(val kind: Kind, val code: Int?, val detail: String) {
    enum class Kind {
        MISSING_LIBRARY, // libexecutorch.so or one that it needs: an Error in Java
        OLD_RUNTIME, // a method that the app calls is not in the runtime's classes
        MISSING_FILE,
        NOT_A_PROGRAM, // damaged .pte or tokenizer: the runner could not be created
        MISSING_OPERATOR,
        MISSING_BACKEND, // the program needs a delegate that this runtime lacks
        WRONG_DELEGATE, // the delegate refuses the program: other SoC, older QAIRT
        OUT_OF_MEMORY,
        CONTEXT_FULL,
        UNKNOWN, // the number is kept
    }
}

/** Makes the engine of a bundle; does not load. */
fun interface EngineFactory {
    fun create(bundle: Bundle): Engine
}
