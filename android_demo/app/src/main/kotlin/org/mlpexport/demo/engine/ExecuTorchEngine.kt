package org.mlpexport.demo.engine

import android.system.ErrnoException
import android.system.Os
import android.util.Log
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.mlpexport.core.Bundle
import org.mlpexport.core.Engine
import org.mlpexport.core.EngineException
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.EngineFailure.Kind
import org.mlpexport.core.EngineStats
import org.mlpexport.core.engineFailure
import org.pytorch.executorch.ExecutorchRuntimeException
import org.pytorch.executorch.extension.llm.LlmCallback
import org.pytorch.executorch.extension.llm.LlmModule

/**
 * ExecuTorch's `LlmModule` on a bundle. Calls only what the classes of ExecuTorch 1.3 have as well as later ones.
 *
 * A chat's text spells its start token, so none is added: the runtime would add one to the first `generate` after
 * a reset, which here may stand in the middle of a prompt.
 */
class ExecuTorchEngine(
    private val bundle: Bundle,
    private val nativeLibraries: String,
    private val packedWeights: PackedWeights,
) : Engine {
    // Held by stop and close alone: the runtime's stop may come from any thread and does not wait for its close.
    private val lock = Any()

    @Volatile private var module: LlmModule? = null

    override fun load() = translating(Stage.LOAD) {
        if (bundle.manifest.backend.name == "qnn") exposeLibrariesToDsp(nativeLibraries)
        val created = LlmModule(
            LlmModule.MODEL_TYPE_TEXT,
            bundle.pte.path,
            bundle.tokenizer.path,
            0f, // each generate brings its own temperature
            null as String?, // an empty path would be opened as a file of weights
            0, // start tokens
            0, // end tokens
        )
        try {
            packedWeights.use(bundle) // the constructor has loaded the library that this asks
            created.load()
        } catch (failure: Throwable) {
            created.close()
            throw failure
        }
        module = created
    }

    override fun prefill(text: String) = translating(Stage.PREFILL) { loaded().prefillPrompt(text) }

    override fun generate(
        text: String,
        maxNewTokens: Int,
        temperature: Float,
        onPiece: (String) -> Unit,
    ): EngineStats = translating(Stage.GENERATE) {
        val callback = Callback(loaded(), onPiece)
        try {
            // The overload with a configuration object ignores its limit of new tokens.
            loaded().generate(text, maxNewTokens, callback, false, temperature, 0, 0)
        } catch (failure: RuntimeException) {
            throw callback.thrown ?: callback.reported ?: failure
        }
        callback.thrown?.let { throw it }
        callback.reported?.let { throw it }
        callback.stats ?: throw EngineException(EngineFailure(Kind.UNKNOWN, null, "generate gave no statistics"))
    }

    override fun stop() = synchronized(lock) { module?.stop() ?: Unit }

    override fun reset() = translating(Stage.RESET) { loaded().resetContext() }

    override fun close() = synchronized(lock) {
        module?.close()
        module = null
    }

    private fun loaded() = module ?: throw EngineException(EngineFailure(Kind.UNKNOWN, null, "the model is not loaded"))

    /** What `generate` tells. The runtime loses what a callback throws, so it is kept and thrown again outside. */
    private class Callback(private val module: LlmModule, private val onPiece: (String) -> Unit) : LlmCallback {
        var stats: EngineStats? = null
        var reported: EngineException? = null
        var thrown: Throwable? = null

        override fun onResult(result: String) {
            if (thrown == null) {
                try {
                    onPiece(result)
                } catch (failure: Throwable) {
                    thrown = failure
                }
            }
            if (thrown != null) module.stop()
        }

        override fun onStats(stats: String) {
            this.stats = try {
                engineStats(JsonParser.parseString(stats).asJsonObject)
            } catch (failure: RuntimeException) {
                Log.w(TAG, "statistics that cannot be read: $stats", failure)
                null
            }
        }

        override fun onError(errorCode: Int, message: String) {
            reported = EngineException(engineFailure(errorCode, message))
        }
    }
}

private const val TAG = "ExecuTorchEngine"

private enum class Stage { LOAD, PREFILL, GENERATE, RESET }

private fun engineStats(stats: JsonObject) = EngineStats(
    promptTokens = stats["prompt_tokens"].asInt,
    // The runtime's count starts behind the first token.
    generatedTokens = stats["generated_tokens"].asInt + 1,
    prefillMillis = stats["prompt_eval_end_ms"].asLong - stats["inference_start_ms"].asLong,
    decodeMillis = stats["inference_end_ms"].asLong - stats["prompt_eval_end_ms"].asLong,
)

/** The DSP opens its half of Qualcomm's libraries itself, by these paths. */
private fun exposeLibrariesToDsp(folder: String) {
    try {
        Os.setenv("ADSP_LIBRARY_PATH", folder, true)
        Os.setenv("LD_LIBRARY_PATH", folder, true)
    } catch (failure: ErrnoException) {
        Log.w(TAG, "the DSP may not find its libraries", failure)
    }
}

private fun <T> translating(stage: Stage, call: () -> T): T = try {
    call()
} catch (failure: ExecutorchRuntimeException) {
    throw EngineException(failureOf(stage, failure), failure)
} catch (failure: IllegalArgumentException) {
    if (stage != Stage.LOAD) throw failure // what a callback threw
    throw EngineException(EngineFailure(Kind.MISSING_FILE, null, failure.message.orEmpty()), failure)
} catch (failure: NoSuchMethodError) {
    throw EngineException(EngineFailure(Kind.OLD_RUNTIME, null, failure.message.orEmpty()), failure)
} catch (failure: LinkageError) { // a library, or a class that could not load one
    throw EngineException(EngineFailure(Kind.MISSING_LIBRARY, null, rootMessage(failure)), failure)
} catch (failure: OutOfMemoryError) {
    throw EngineException(EngineFailure(Kind.OUT_OF_MEMORY, null, failure.message.orEmpty()), failure)
}

/** `load` gives "invalid state" for a file that is no program or no tokenizer, whatever else the code means. */
private fun failureOf(stage: Stage, failure: ExecutorchRuntimeException): EngineFailure {
    val found = engineFailure(failure.errorCode, failure.detailedError)
    val noRunner = stage == Stage.LOAD && failure.errorCode == ExecutorchRuntimeException.INVALID_STATE
    return if (noRunner) found.copy(kind = Kind.NOT_A_PROGRAM) else found
}

private fun rootMessage(failure: Throwable): String =
    generateSequence(failure) { it.cause }.last().let { it.message ?: it.javaClass.simpleName }
