package org.mlpexport.core

/** What decides whether a bundle runs on a phone. */
data class Device(
    val socModel: String?, // ro.soc.model, "SM8650"; null before Android 12
    val abis: List<String>,
    val sdk: Int,
    val totalMemoryBytes: Long,
    val availableMemoryBytes: Long,
    val runtimes: Map<String, String>, // runtime that the app carries -> version: "executorch" -> "1.3.1", "qairt" -> ...
    val backends: Set<String>, // delegates that it has registered: "xnnpack", "qnn"
    val missingLibraries: List<String>, // that a bundle's backend needs and the app lacks
)

/** Whether it runs, and every reason why not. The app has a sentence for each reason. */
data class DeviceFit(val reasons: List<Reason>, val warnings: List<Reason>) {
    val runs get() = reasons.isEmpty()

    /** [found] and [expected] fill the sentence; [kind] has one spelling in tests/vectors/device_fit.json. */
    data class Reason(val kind: Kind, val found: String, val expected: String)

    enum class Kind {
        OTHER_SYSTEM, // a bundle for iOS
        WRONG_SOC,
        UNKNOWN_SOC, // a warning: the phone does not say what it is
        WRONG_ABI,
        OLD_RUNTIME,
        MISSING_BACKEND,
        MISSING_LIBRARY,
        TOO_LITTLE_MEMORY, // the phone never has enough
        LITTLE_FREE_MEMORY, // a warning: not now
        NOT_VERIFIED, // a warning: the export did not verify it, or it did not pass
    }
}
