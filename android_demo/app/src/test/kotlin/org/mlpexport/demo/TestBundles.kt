package org.mlpexport.demo

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import com.google.gson.JsonPrimitive
import org.mlpexport.core.Device
import java.io.File
import java.security.MessageDigest

/** Bundles of a few bytes with manifests as exports have them, and phones to hold them against. */
object TestBundles {
    private val FILES = mapOf(
        "model.pte" to ByteArray(3000) { it.toByte() },
        "tokenizer.json" to "{}".toByteArray(),
        "LICENSE" to "Apache License\nVersion 2.0, January 2004\n".toByteArray(),
    )

    /** Writes a bundle; [edit] changes its manifest after the files' sizes and hashes are in it. */
    fun write(
        root: File,
        name: String,
        files: Map<String, ByteArray> = emptyMap(),
        edit: (JsonObject) -> Unit = {},
    ): File {
        val folder = File(root, name).apply { mkdirs() }
        val all = FILES + files
        all.forEach { (file, bytes) -> File(folder, file).writeBytes(bytes) }
        File(folder, "manifest.json").writeText(manifest(all).also(edit).toString())
        return folder
    }

    /** A bundle for the NPU of [soc]. */
    fun writeQnn(root: File, name: String, soc: String = "sm8650"): File = write(root, name) {
        it.getAsJsonObject("backend").apply {
            addProperty("name", "qnn")
            addProperty("target", soc)
            getAsJsonObject("min_runtime").addProperty("qairt", "2.49.40")
        }
        it.model.addProperty("id", "facebook/MobileLLM-Pro")
        it.model.addProperty("license", "FAIR NC")
        it.addProperty("context", 8192)
    }

    val JsonObject.model: JsonObject get() = getAsJsonObject("model")
    val JsonObject.files: JsonObject get() = getAsJsonObject("files")

    fun sha256(bytes: ByteArray) =
        MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }

    private fun manifest(files: Map<String, ByteArray>): JsonObject {
        val json = JsonParser.parseString(MANIFEST).asJsonObject
        files.forEach { (name, bytes) ->
            json.files.add(
                name,
                JsonObject().apply {
                    addProperty("bytes", bytes.size)
                    addProperty("sha256", sha256(bytes))
                },
            )
        }
        val layers = JsonArray().apply { repeat(2) { add(JsonPrimitive(false)) } }
        json.model.getAsJsonObject("shape").add("local_layers", layers)
        return json
    }

    private val MANIFEST = """
        {"format": 2, "exporter": {"name": "mlp-export", "version": "0.2.0"},
         "model": {"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": null, "license": "Apache-2.0",
           "parameters": 134515008, "shape": {"family": "llama", "vocab_size": 49152, "hidden_size": 576,
           "num_layers": 2, "num_heads": 9, "num_kv_heads": 3, "head_dim": 64, "ffn_size": 1536, "norm_eps": 1e-5,
           "rope_theta": 1e5, "rope_scaling": null, "max_positions": 8192, "window": 0, "qk_norm": false,
           "tied_embeddings": true, "bos_id": 1, "eos_ids": [2]}},
         "backend": {"name": "xnnpack", "target": null, "compiled_with": {"executorch": "1.5.1"},
           "min_runtime": {"executorch": "1.3"}},
         "context": 2048, "prefill_chunk": 128,
         "quantization": {"scheme": "int4-g32", "scales": "checkpoint", "activations": "int8-dynamic-per-token",
           "kv_cache": "int8"},
         "kv_cache_bytes": 23592960, "kv_scale_bytes": 1474560, "device_ram_bytes": 148724736,
         "tied_weights_stored_once": true,
         "tokenizer": {"files": ["tokenizer.json"], "bos_id": 1, "eos_ids": [2], "add_bos": false},
         "chat": {"bos": "", "system_prefix": "<|im_start|>system\n", "system_suffix": "<|im_end|>\n",
           "user_prefix": "<|im_start|>user\n", "user_suffix": "<|im_end|>\n",
           "assistant_prefix": "<|im_start|>assistant\n", "assistant_suffix": "<|im_end|>\n",
           "default_system": null, "trim": false, "stop": ["<|im_end|>"]},
         "verification": {"passed": true, "tokens": 57, "checks":
           [{"name": "weights", "passed": true, "detail": "162,791,424 codes and 5,087,232 scales are equal"}]},
         "files": {}}
    """

    val S24 = Device(
        socModel = "SM8650",
        abis = listOf("arm64-v8a", "armeabi-v7a"),
        sdk = 35,
        totalMemoryBytes = 7_600_000_000,
        availableMemoryBytes = 3_100_000_000,
        runtimes = mapOf("executorch" to "1.3.1"),
        backends = setOf("xnnpack"),
        missingLibraries = emptyList(),
    )
    val S24_WITH_QNN = S24.copy(
        runtimes = S24.runtimes + ("qairt" to "2.49.40.260810104044"),
        backends = setOf("xnnpack", "qnn"),
    )
    val S25_WITH_QNN = S24_WITH_QNN.copy(socModel = "SM8750")
    val PIXEL = S24_WITH_QNN.copy(socModel = "Tensor G3")
    val EXYNOS_S24 = S24_WITH_QNN.copy(socModel = "s5e9945")
}
