package org.mlpexport.core

import java.text.Normalizer

/** SmolLM2's chat format. */
val CHATML =
    ChatFormat(
        bos = "",
        systemPrefix = "<|im_start|>system\n",
        systemSuffix = "<|im_end|>\n",
        userPrefix = "<|im_start|>user\n",
        userSuffix = "<|im_end|>\n",
        assistantPrefix = "<|im_start|>assistant\n",
        assistantSuffix = "<|im_end|>\n",
        defaultSystem = null,
        trim = false,
        stop = listOf("<|im_end|>"),
    )

/** A manifest as an XNNPACK export has it, with the values that a test cares about. */
fun manifest(
    context: Int = 128,
    prefillChunk: Int = 16,
    chat: ChatFormat? = CHATML,
    chatLimits: List<String> = emptyList(),
    backend: BackendInfo = BackendInfo("xnnpack", null, mapOf("executorch" to "1.5.1"), mapOf("executorch" to "1.3")),
    deviceRamBytes: Long = 150_000_000,
    license: String? = "Apache-2.0",
    verification: Verification? = Verification(true, 57, listOf(Verification.Check("weights", true, "bit-equal"))),
    files: Map<String, FileEntry> = emptyMap(),
    addBos: Boolean = false,
    normalization: Normalizer.Form? = null,
    answerStrip: String? = null,
): Manifest =
    Manifest(
        exporter = Exporter("mlp-export", "0.2.0"),
        model = ModelInfo("HuggingFaceTB/SmolLM2-135M-Instruct", "1", license, 134_515_008, 49_152),
        backend = backend,
        context = context,
        prefillChunk = prefillChunk,
        quantizationScheme = "int4-g32",
        kvCacheBytes = 23_592_960,
        kvScaleBytes = 1_474_560,
        deviceRamBytes = deviceRamBytes,
        tokenizer = TokenizerInfo(listOf("tokenizer.json"), 1, listOf(2), addBos, normalization, answerStrip),
        chat = chat,
        chatLimits = chatLimits,
        verification = verification,
        files = files,
    )

/** Counts words exactly as [FakeEngine] does. */
class WordTokenizer(private val special: List<String> = listOf("<|im_start|>", "<|im_end|>")) : Tokenizer {
    override val inexactBecause: String? = null

    override fun count(text: String) = TokenCount(FakeEngine.words(text).size, true)

    override fun tokensBefore(rest: String, whole: String): TokenCount? {
        val (words, own) = FakeEngine.words(whole) to FakeEngine.words(rest)
        return if (words.takeLast(own.size) == own) TokenCount(words.size - own.size, true) else null
    }

    override fun specialIn(message: String): String? = special.firstOrNull { it in message }

    override fun spelling(id: Int): String? = special.getOrNull(id - 1)

    override fun slices(text: String, size: Int): List<String> =
        FakeEngine.words(text).chunked(size).map { it.joinToString("") }.ifEmpty { listOf("") }
}
