package org.mlpexport.core

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonNull
import com.google.gson.JsonObject
import com.google.gson.JsonPrimitive
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** The app and the phone, as a result names them. */
data class BenchHost(
    val appId: String,
    val appVersion: String,
    val runtimes: Map<String, String>,
    val manufacturer: String,
    val model: String,
    val socModel: String?,
    val abi: String,
    val android: String,
    val sdk: Int,
    val cores: Int,
    val totalMemoryBytes: Long,
)

/** One prompt at an empty KV cache, and its answer. */
data class BenchRun(
    val promptTokens: Int,
    val wantedTokens: Int,
    val repetition: Int,
    val prefillSeconds: Double,
    val decodeTokens: Int,
    val decodeSeconds: Double,
    val thermal: String,
)

/** One prompt and answer of many, one after the other. */
data class BenchSample(
    val atSeconds: Double,
    val prefillTokensPerSecond: Double?,
    val decodeTokensPerSecond: Double?,
    val thermal: String,
    val headroom: Double?,
)

data class BenchSustained(val seconds: Double, val promptTokens: Int, val samples: List<BenchSample>)

/** What was measured so far. */
data class BenchResult(
    val id: String,
    val status: Status,
    val host: BenchHost,
    val plan: BenchPlan? = null, // null: it could not be read
    val bundle: Bundle? = null, // null: it could not be opened
    val error: Error? = null,
    val done: Int = 0, // steps of the plan
    val total: Int = 0,
    val stage: String = "",
    val skipped: List<Int> = emptyList(),
    val threads: Int? = null,
    val loadSeconds: Double? = null,
    val residentBytes: Long? = null,
    val runs: List<BenchRun> = emptyList(),
    val sustained: BenchSustained? = null,
) {
    enum class Status { RUNNING, DONE, FAILED, CANCELLED }

    /** [kind]: the name of an EngineFailure.Kind, a BundleProblem or a DeviceFit.Kind, or BAD_PLAN. */
    data class Error(val kind: String, val code: Int?, val message: String)

    /** As mlp_export/data/device_bench.schema.json has it. */
    fun toJson(): JsonObject =
        objectOf(
            "format" to number(1),
            "id" to text(id),
            "status" to text(status.name.lowercase()),
            "progress" to objectOf("done" to number(done), "total" to number(total), "stage" to text(stage)),
            "error" to
                error.orNull {
                    objectOf("kind" to text(it.kind), "code" to number(it.code), "message" to text(it.message))
                },
            "plan" to plan.orNull { it.toJson() },
            "skipped" to list(skipped.map(::number)),
            "app" to
                objectOf(
                    "id" to text(host.appId),
                    "version" to text(host.appVersion),
                    "runtimes" to objectOf(*host.runtimes.map { it.key to text(it.value) }.toTypedArray()),
                ),
            "device" to device(),
            "bundle" to bundle.orNull(::describe),
            "threads" to number(threads),
            "load_s" to number(loadSeconds),
            "resident_bytes" to number(residentBytes),
            "runs" to list(runs.map(::describe)),
            "sustained" to sustained.orNull(::describe),
        )

    private fun device() =
        objectOf(
            "manufacturer" to text(host.manufacturer),
            "model" to text(host.model),
            "soc_model" to text(host.socModel),
            "abi" to text(host.abi),
            "android" to text(host.android),
            "sdk" to number(host.sdk),
            "cores" to number(host.cores),
            "total_memory_bytes" to number(host.totalMemoryBytes),
        )

    private fun describe(bundle: Bundle) =
        objectOf(
            "name" to text(bundle.folder.name),
            "model_id" to text(bundle.manifest.model.id),
            "backend" to text(bundle.manifest.backend.name),
            "target" to text(bundle.manifest.backend.target),
            "context" to number(bundle.manifest.context),
            "prefill_chunk" to number(bundle.manifest.prefillChunk),
            "pte_sha256" to text(bundle.manifest.files.getValue(bundle.pte.name).sha256),
        )

    private fun describe(run: BenchRun) =
        objectOf(
            "prompt_tokens" to number(run.promptTokens),
            "wanted_tokens" to number(run.wantedTokens),
            "repetition" to number(run.repetition),
            "prefill_s" to number(run.prefillSeconds),
            "decode_tokens" to number(run.decodeTokens),
            "decode_s" to number(run.decodeSeconds),
            "thermal" to text(run.thermal),
        )

    private fun describe(sustained: BenchSustained) =
        objectOf(
            "seconds" to number(sustained.seconds),
            "prompt_tokens" to number(sustained.promptTokens),
            "samples" to list(sustained.samples.map(::describe)),
        )

    private fun describe(sample: BenchSample) =
        objectOf(
            "at_s" to number(sample.atSeconds),
            "prefill_tok_s" to number(sample.prefillTokensPerSecond),
            "decode_tok_s" to number(sample.decodeTokensPerSecond),
            "thermal" to text(sample.thermal),
            "headroom" to number(sample.headroom),
        )

    /** Writes `ID.json` into [folder]: the old one or the new one is there at any time, never a part. */
    fun writeTo(folder: File) {
        if (!folder.isDirectory && !folder.mkdirs()) throw IOException("$folder cannot be made")
        val part = File(folder, "$id.json.tmp")
        FileOutputStream(part).use { output ->
            output.write("${toJson()}\n".toByteArray())
            output.fd.sync()
        }
        val target = File(folder, "$id.json")
        if (!part.renameTo(target)) throw IOException("$part cannot be renamed to $target")
    }
}

private fun objectOf(vararg values: Pair<String, JsonElement>) =
    JsonObject().also { json -> values.forEach { (key, value) -> json.add(key, value) } }

private fun list(values: List<JsonElement>) = JsonArray().also { values.forEach(it::add) }

private fun text(value: String?): JsonElement = value.orNull(::JsonPrimitive)

private fun number(value: Number?): JsonElement = value.orNull(::JsonPrimitive)

private fun <T : Any> T?.orNull(json: (T) -> JsonElement): JsonElement =
    if (this == null) JsonNull.INSTANCE else json(this)
