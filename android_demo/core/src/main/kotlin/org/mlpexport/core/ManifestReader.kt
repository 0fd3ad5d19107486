package org.mlpexport.core

import com.google.gson.JsonObject
import org.mlpexport.core.ChatFormat.Trim
import java.text.Normalizer

private const val FORMAT = 2
private val NAME = Regex("[A-Za-z0-9_][A-Za-z0-9_.-]*")
private val BACKEND = Regex("[a-z][a-z0-9_]*")
private val SHA256 = Regex("[0-9a-f]{64}")
private val SHAPE = listOf("hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim")
private val FORMS = mapOf("NFC" to Normalizer.Form.NFC)
private val TRIMS = Trim.entries.associateBy { it.name.lowercase() }
private val NEEDED_FILES = listOf("model.pte", "tokenizer.json", "LICENSE")

/** Reads a manifest as mlp_export/data/manifest.schema.json has it: no key may be missing, and no other be there. */
internal fun parseManifest(text: String): Manifest =
    try {
        val json = parseJson(text) as? JsonObject ?: throw JsonException("", "expected a JSON object")
        readManifest(JsonFields(json))
    } catch (exception: JsonException) {
        throw BundleException(BundleProblem.DAMAGED_MANIFEST, exception.message.orEmpty())
    }

private fun readManifest(json: JsonFields): Manifest {
    val format = json.long("format", least = 1)
    if (format > FORMAT) throw BundleException(BundleProblem.NEWER_FORMAT, "$format")
    val files = readFiles(json.fields("files"))
    json.boolean("tied_weights_stored_once")
    val manifest =
        Manifest(
            exporter = json.ifThere("exporter", json::fields)?.let(::readExporter),
            model = readModel(json.fields("model")),
            backend = readBackend(json.fields("backend"), if (format == 1L) "least_runtime" else "min_runtime"),
            context = json.int("context", least = 1),
            prefillChunk = json.int("prefill_chunk", least = 1),
            quantizationScheme = readQuantization(json.fields("quantization")),
            kvCacheBytes = json.long("kv_cache_bytes", least = 0),
            kvScaleBytes = json.long("kv_scale_bytes", least = 0),
            deviceRamBytes = json.long("device_ram_bytes", least = 0),
            tokenizer = readTokenizer(json.fields("tokenizer"), files.keys),
            chat = json.fieldsOrNull("chat")?.let(::readChat),
            chatLimits = if (json.has("chat_limits")) json.nonEmptyStrings("chat_limits") else emptyList(),
            verification = json.fieldsOrNull("verification")?.let(::readVerification),
            files = files,
        )
    json.refuseOthers()
    return manifest
}

private fun readExporter(json: JsonFields): Exporter {
    val exporter = Exporter(json.string("name"), json.string("version"))
    json.refuseOthers()
    return exporter
}

private fun readModel(json: JsonFields): ModelInfo {
    val shape = json.fields("shape")
    for (size in SHAPE) shape.int(size, least = 1)
    val model =
        ModelInfo(
            id = json.string("id").ifEmpty { throw json.wrong("id", "a name") },
            revision = json.stringOrNull("revision"),
            license = json.stringOrNull("license"),
            parameters = json.long("parameters", least = 1),
            vocabSize = shape.int("vocab_size", least = 1),
        )
    json.refuseOthers()
    return model
}

/** [minRuntime] is the key, which format 1 spelled otherwise. */
private fun readBackend(json: JsonFields, minRuntime: String): BackendInfo {
    val name = json.string("name")
    if (!BACKEND.matches(name)) throw json.wrong("name", "lower-case letters")
    val backend =
        BackendInfo(name, json.stringOrNull("target"), json.stringMap("compiled_with"), json.stringMap(minRuntime))
    json.refuseOthers()
    return backend
}

private fun readQuantization(json: JsonFields): String {
    json.string("activations")
    if (json.string("scales") !in setOf("weights", "learned", "checkpoint")) {
        throw json.wrong("scales", "weights, learned or checkpoint")
    }
    if (json.string("kv_cache") !in setOf("int8", "fp16", "fp32")) throw json.wrong("kv_cache", "int8, fp16 or fp32")
    return json.string("scheme")
}

private fun readTokenizer(json: JsonFields, names: Set<String>): TokenizerInfo {
    val tokenizer =
        TokenizerInfo(
            files = json.strings("files"),
            bosId = json.int("bos_id", least = 0),
            eosIds = json.ints("eos_ids", least = 0),
            addBos = json.boolean("add_bos"),
            normalization = json.ifThere("normalization") { json.oneOf(it, FORMS) },
            answerStrip = json.ifThere("answer_strip", json::nonEmptyString),
        )
    tokenizer.files.forEach(::checkName)
    if (tokenizer.files.isEmpty() || !names.containsAll(tokenizer.files)) {
        throw json.wrong("files", "names that are in `files`")
    }
    if (tokenizer.eosIds.isEmpty()) throw json.wrong("eos_ids", "at least one id")
    json.refuseOthers()
    return tokenizer
}

private fun readChat(json: JsonFields): ChatFormat {
    val assistantPrefix = json.string("assistant_prefix")
    val trim = json.boolean("trim")
    val chat =
        ChatFormat(
            bos = json.string("bos"),
            systemPrefix = json.stringOrNull("system_prefix"),
            systemSuffix = json.stringOrNull("system_suffix"),
            userPrefix = json.string("user_prefix"),
            userSuffix = json.string("user_suffix"),
            assistantPrefix = assistantPrefix,
            assistantSuffix = json.string("assistant_suffix"),
            defaultSystem = json.stringOrNull("default_system"),
            trim = trim,
            stop = json.nonEmptyStrings("stop"),
            generationPrompt = json.ifThere("generation_prompt", json::string) ?: assistantPrefix,
            reasoningEnd = json.ifThere("reasoning_end", json::nonEmptyString),
            reasoningTrim = json.ifThere("reasoning_trim", json::trim) ?: Trim.NONE,
            answerTrimStart = json.ifThere("answer_trim_start", json::trim) ?: Trim.of(trim),
            answerTrimEnd = json.ifThere("answer_trim_end", json::trim) ?: Trim.of(trim),
        )
    json.refuseOthers()
    return chat
}

private fun JsonFields.nonEmptyString(key: String): String =
    string(key).ifEmpty { throw wrong(key, "a text that is not empty") }

private fun JsonFields.nonEmptyStrings(key: String): List<String> =
    strings(key).onEach { if (it.isEmpty()) throw wrong(key, "texts that are not empty") }

private fun JsonFields.trim(key: String): Trim = oneOf(key, TRIMS)

/** Other keys are allowed: exporters compare more from version to version. */
private fun readVerification(json: JsonFields): Verification =
    Verification(
        passed = json.boolean("passed"),
        tokens = if (json.has("tokens")) json.int("tokens", least = 0) else 0,
        checks = if (json.has("checks")) json.list("checks").map(::readCheck) else emptyList(),
    )

private fun readCheck(json: JsonFields) =
    Verification.Check(json.string("name"), json.boolean("passed"), json.string("detail"))

private fun readFiles(json: JsonFields): Map<String, FileEntry> {
    json.keys.forEach(::checkName)
    for (name in NEEDED_FILES) if (!json.has(name)) throw JsonException("files", "$name is missing")
    return json.keys.associateWith { name ->
        val entry = json.fields(name)
        val file = FileEntry(entry.long("bytes", least = 0), entry.string("sha256"))
        if (!SHA256.matches(file.sha256)) throw entry.wrong("sha256", "64 hexadecimal digits")
        entry.refuseOthers()
        file
    }
}

private fun checkName(name: String) {
    if (!NAME.matches(name) || ".." in name || name == "manifest.json") {
        throw BundleException(BundleProblem.BAD_NAME, name.take(200))
    }
}
