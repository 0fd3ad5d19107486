package org.mlpexport.core

import java.io.File

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
    val verification: Verification?,
    val files: Map<String, FileEntry>,
)

data class Exporter(val name: String, val version: String)

data class ModelInfo(val id: String, val revision: String?, val license: String?, val parameters: Long, val vocabSize: Int)

/** `minRuntime`: name of a runtime, such as "executorch" or "qairt" -> the oldest version that runs the program. */
data class BackendInfo(
    val name: String,
    val target: String?,
    val compiledWith: Map<String, String>,
    val minRuntime: Map<String, String>,
)

data class TokenizerInfo(val files: List<String>, val bosId: Int, val eosIds: List<Int>, val addBos: Boolean)

/** What the export compared. `passed` is false only in files that something else wrote. */
data class Verification(val passed: Boolean, val tokens: Int, val checks: List<Check>) {
    data class Check(val name: String, val passed: Boolean, val detail: String)
}

data class FileEntry(val bytes: Long, val sha256: String)

/** A bundle whose manifest, names and sizes were checked. Hashes are checked by [Bundle.checkHashes]. */
data class Bundle(val folder: File, val manifest: Manifest) {
    val pte get() = File(folder, "model.pte")
    val tokenizer get() = File(folder, "tokenizer.json")
    val license get() = File(folder, "LICENSE")
}

/** Why a folder is no bundle that can be used. The app has a sentence for each; [detail] names file, key or number. */
class BundleException(val problem: BundleProblem, val detail: String) : Exception("$problem: $detail")

enum class BundleProblem {
    NOT_A_BUNDLE, // no manifest.json
    NEWER_FORMAT, // detail: the number
    DAMAGED_MANIFEST, // detail: key and what is wrong
    BAD_NAME, // a file name with a separator, "..", ...
    SYMBOLIC_LINK,
    MISSING_FILE,
    WRONG_SIZE, // half copied, 0 bytes
    WRONG_HASH,
    UNREADABLE, // permissions, removed storage
}
