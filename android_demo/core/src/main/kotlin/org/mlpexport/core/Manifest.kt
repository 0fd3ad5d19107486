package org.mlpexport.core

import java.text.Normalizer

/** What a bundle's `manifest.json` says, format 2; format 1 is read as it. The keys are those of docs/manifest.md. */
data class Manifest(
    val exporter: Exporter?,
    val model: ModelInfo,
    val backend: BackendInfo,
    val context: Int,
    val prefillChunk: Int,
    val quantizationScheme: String,
    val kvCacheBytes: Long,
    val kvScaleBytes: Long,
    val deviceRamBytes: Long,
    val tokenizer: TokenizerInfo,
    val chat: ChatFormat?,
    val chatLimits: List<String>, // what of the checkpoint's template is not carried, and why
    val verification: Verification?,
    val files: Map<String, FileEntry>,
) {
    /**
     * Tokens that an answer may have behind [tokens] of a prompt. Its last one needs no place in the KV cache, as it is
     * not fed, but the runtime keeps one for it where the context is one chunk.
     */
    internal fun roomAfter(tokens: Int) = context - tokens + if (prefillChunk < context) 1 else 0

    companion object {
        /** The manifest in [text]. Throws [BundleException] with NEWER_FORMAT, BAD_NAME or DAMAGED_MANIFEST. */
        fun parse(text: String): Manifest = parseManifest(text)
    }
}

data class Exporter(val name: String, val version: String)

data class ModelInfo(
    val id: String,
    val revision: String?,
    val license: String?,
    val parameters: Long,
    val vocabSize: Int,
)

/** `minRuntime`: name of a runtime, such as "executorch" or "qairt" -> the oldest version that runs the program. */
data class BackendInfo(
    val name: String,
    val target: String?,
    val compiledWith: Map<String, String>,
    val minRuntime: Map<String, String>,
)

data class TokenizerInfo(
    val files: List<String>,
    val bosId: Int,
    val eosIds: List<Int>,
    val addBos: Boolean,
    val normalization: Normalizer.Form? = null,
    val answerStrip: String? = null, // dropped from the beginning of an answer, once
) {
    /**
     * [text] as the runtime is to be given it. It is for one message or a plain prompt, before a chat's strings are put
     * around it: the runtime's tokenizer leaves out a form that it does not do as the checkpoint's does.
     */
    fun normalize(text: String): String = if (normalization == null) text else Normalizer.normalize(text, normalization)
}

/** What the export compared. `passed` is false only in files that something else wrote. */
data class Verification(val passed: Boolean, val tokens: Int, val checks: List<Check>) {
    data class Check(val name: String, val passed: Boolean, val detail: String)
}

data class FileEntry(val bytes: Long, val sha256: String)
