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

/** Whether a bundle with [manifest] runs on [device], and every reason why not. */
fun deviceFit(manifest: Manifest, device: Device): DeviceFit {
    val backend = manifest.backend
    if (IOS in backend.minRuntime) {
        return DeviceFit(listOf(DeviceFit.Reason(DeviceFit.Kind.OTHER_SYSTEM, "android", IOS)), emptyList())
    }
    return DeviceFit(
        reasons =
            listOfNotNull(wrongSoc(backend, device), wrongAbi(backend, device), missingBackend(backend, device)) +
                oldRuntimes(backend, device) +
                listOfNotNull(missingLibraries(device), tooLittleMemory(manifest, device)),
        warnings =
            listOfNotNull(unknownSoc(backend, device), littleFreeMemory(manifest, device), notVerified(manifest)),
    )
}

private const val IOS = "ios"
private const val QNN = "qnn"

private fun wrongSoc(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    val target = backend.target ?: return null
    val found = device.socModel ?: return null
    // Variants of a chip have a suffix: SM8650-AC is the one of the Galaxy S24 Ultra.
    if (found.substringBefore('-').equals(target, ignoreCase = true)) return null
    return DeviceFit.Reason(DeviceFit.Kind.WRONG_SOC, found, target.uppercase())
}

private fun unknownSoc(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    val target = backend.target ?: return null
    return if (device.socModel == null) DeviceFit.Reason(DeviceFit.Kind.UNKNOWN_SOC, "", target.uppercase()) else null
}

private fun wrongAbi(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    val expected = if (backend.name == QNN) listOf("arm64-v8a") else listOf("arm64-v8a", "x86_64")
    if (device.abis.any { it in expected }) return null
    return DeviceFit.Reason(DeviceFit.Kind.WRONG_ABI, device.abis.joinToString(), expected.joinToString())
}

private fun missingBackend(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    if (backend.name in device.backends) return null
    return DeviceFit.Reason(DeviceFit.Kind.MISSING_BACKEND, device.backends.sorted().joinToString(), backend.name)
}

/** Runtimes that the app carries and that are too old; one that it lacks is a missing backend. */
private fun oldRuntimes(backend: BackendInfo, device: Device): List<DeviceFit.Reason> =
    backend.minRuntime.mapNotNull { (name, least) ->
        val found = device.runtimes[name]
        if (found == null || compareVersions(found, least) >= 0) return@mapNotNull null
        DeviceFit.Reason(DeviceFit.Kind.OLD_RUNTIME, "$name $found", "$name $least")
    }

private fun missingLibraries(device: Device): DeviceFit.Reason? {
    if (device.missingLibraries.isEmpty()) return null
    return DeviceFit.Reason(DeviceFit.Kind.MISSING_LIBRARY, "", device.missingLibraries.joinToString())
}

private fun tooLittleMemory(manifest: Manifest, device: Device): DeviceFit.Reason? {
    if (device.totalMemoryBytes >= manifest.deviceRamBytes) return null
    val (found, expected) = device.totalMemoryBytes to manifest.deviceRamBytes
    return DeviceFit.Reason(DeviceFit.Kind.TOO_LITTLE_MEMORY, "$found", "$expected")
}

private fun littleFreeMemory(manifest: Manifest, device: Device): DeviceFit.Reason? {
    if (device.totalMemoryBytes < manifest.deviceRamBytes) return null
    if (device.availableMemoryBytes >= manifest.deviceRamBytes) return null
    val (found, expected) = device.availableMemoryBytes to manifest.deviceRamBytes
    return DeviceFit.Reason(DeviceFit.Kind.LITTLE_FREE_MEMORY, "$found", "$expected")
}

private fun notVerified(manifest: Manifest): DeviceFit.Reason? {
    val verification = manifest.verification
    if (verification?.passed == true) return null
    return DeviceFit.Reason(DeviceFit.Kind.NOT_VERIFIED, if (verification == null) "" else "failed", "passed")
}

/** Order of versions such as "1.3.1", "1.5.0a0+cpu" and "2.49.40.260810104044": their numbers, one by one. */
internal fun compareVersions(left: String, right: String): Int {
    val a = numbers(left)
    val b = numbers(right)
    for (index in 0 until maxOf(a.size, b.size)) {
        val order = a.getOrElse(index) { 0 }.compareTo(b.getOrElse(index) { 0 })
        if (order != 0) return order
    }
    return 0
}

private fun numbers(version: String): List<Long> =
    Regex("""v?(\d+(?:\.\d+)*)""").matchAt(version.trim(), 0)?.let { match ->
        match.groupValues[1].split('.').map { it.toLongOrNull() ?: Long.MAX_VALUE }
    }.orEmpty()
