package org.mlpexport.core

/** What decides whether a bundle runs on a phone. */
data class Device(
    val socModel: String?, // ro.soc.model, "SM8650"; null before Android 12
    val abis: List<String>,
    val sdk: Int,
    val totalMemoryBytes: Long,
    val availableMemoryBytes: Long,
    val runtimes: Map<String, String>, // that the app carries -> version: "executorch" -> "1.3.1", "qairt" -> ...
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

/** Whether a bundle with [manifest] runs on [device], and why not: as mlp_export/devices/device_fit.py has it. */
fun deviceFit(manifest: Manifest, device: Device): DeviceFit {
    val backend = manifest.backend
    if (backend.name == "coreml" || "ios" in backend.minRuntime) {
        return DeviceFit(listOf(DeviceFit.Reason(DeviceFit.Kind.OTHER_SYSTEM, "Android", "iOS")), emptyList())
    }
    val reasons =
        listOfNotNull(missingBackend(backend, device)) +
            device.missingLibraries.map { DeviceFit.Reason(DeviceFit.Kind.MISSING_LIBRARY, "", it) } +
            listOfNotNull(wrongAbi(backend, device), wrongSoc(backend, device)) +
            oldRuntimes(backend, device) +
            listOfNotNull(tooLittleMemory(manifest, device))
    val warnings = listOfNotNull(unknownSoc(backend, device), littleFreeMemory(manifest, device), notVerified(manifest))
    return DeviceFit(reasons, warnings)
}

/** ABIs that the Android runtime of a backend exists for. */
private fun abis(backend: String) = if (backend == "xnnpack") listOf("arm64-v8a", "x86_64") else listOf("arm64-v8a")

private fun missingBackend(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    if (backend.name in device.backends) return null
    return DeviceFit.Reason(DeviceFit.Kind.MISSING_BACKEND, device.backends.sorted().joinToString(), backend.name)
}

private fun wrongAbi(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    val expected = abis(backend.name)
    if (device.abis.any { it in expected }) return null
    return DeviceFit.Reason(DeviceFit.Kind.WRONG_ABI, device.abis.joinToString(), expected.joinToString(" or "))
}

private fun wrongSoc(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    val target = backend.target?.uppercase() ?: return null
    val found = knownSoc(device) ?: return null
    // Variants of a chip add letters or a dash: SM8650-AC is the one of the Galaxy S24 Ultra.
    val isTarget = found.startsWith(target, ignoreCase = true) && found.getOrNull(target.length)?.isDigit() != true
    return if (isTarget) null else DeviceFit.Reason(DeviceFit.Kind.WRONG_SOC, found, target)
}

private fun unknownSoc(backend: BackendInfo, device: Device): DeviceFit.Reason? {
    val target = backend.target?.uppercase() ?: return null
    return if (knownSoc(device) == null) DeviceFit.Reason(DeviceFit.Kind.UNKNOWN_SOC, "", target) else null
}

private fun knownSoc(device: Device) =
    device.socModel?.trim()?.takeUnless { it.isEmpty() || it.equals("unknown", ignoreCase = true) }

/** A runtime whose version is not known is not held against the app: one that it lacks is a missing backend. */
private fun oldRuntimes(backend: BackendInfo, device: Device): List<DeviceFit.Reason> =
    backend.minRuntime.toSortedMap().mapNotNull { (name, oldest) ->
        val found = device.runtimes[name]
        if (found == null || compareVersions(found, oldest) >= 0) return@mapNotNull null
        DeviceFit.Reason(DeviceFit.Kind.OLD_RUNTIME, "$name $found", "$name $oldest")
    }

private fun tooLittleMemory(manifest: Manifest, device: Device): DeviceFit.Reason? {
    if (manifest.deviceRamBytes <= memoryForApps(device)) return null
    val (found, expected) = device.totalMemoryBytes to manifest.deviceRamBytes
    return DeviceFit.Reason(DeviceFit.Kind.TOO_LITTLE_MEMORY, "$found", "$expected")
}

private fun littleFreeMemory(manifest: Manifest, device: Device): DeviceFit.Reason? {
    if (manifest.deviceRamBytes > memoryForApps(device)) return null
    if (manifest.deviceRamBytes <= device.availableMemoryBytes) return null
    val (found, expected) = device.availableMemoryBytes to manifest.deviceRamBytes
    return DeviceFit.Reason(DeviceFit.Kind.LITTLE_FREE_MEMORY, "$found", "$expected")
}

/** The system and its services keep a quarter. */
private fun memoryForApps(device: Device) = device.totalMemoryBytes / 4 * 3

private fun notVerified(manifest: Manifest): DeviceFit.Reason? {
    val verification = manifest.verification
    if (verification?.passed == true) return null
    return DeviceFit.Reason(DeviceFit.Kind.NOT_VERIFIED, if (verification == null) "none" else "failed", "passed")
}

/**
 * Order of versions such as "1.3.1" and "1.5.0a0+cpu" by their first three numbers. Not read: what follows, the "v" and
 * the build's date in "v2.49.40.260810104044", as manifests for QNN once had it.
 */
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
    Regex("""v?(\d+(?:\.\d+){0,2})""").matchAt(version, 0)?.let { match ->
        match.groupValues[1].split('.').map { it.toLongOrNull() ?: Long.MAX_VALUE }
    }.orEmpty()
