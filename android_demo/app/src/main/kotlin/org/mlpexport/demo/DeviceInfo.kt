package org.mlpexport.demo

import android.app.ActivityManager
import android.content.Context
import android.content.pm.PackageManager
import android.os.Build
import org.mlpexport.core.BackendInfo
import org.mlpexport.core.Device
import org.pytorch.executorch.ExecuTorchRuntime
import java.io.File

/**
 * This phone for a bundle of [backend]: Qualcomm's libraries are missed by bundles for its NPU alone, and the two of a
 * chip's DSP by bundles for that chip.
 */
internal fun Device.forBackend(backend: BackendInfo): Device {
    val ofChip = HTP_VERSIONS[backend.target?.uppercase()]?.let(::htpLibraries).orEmpty()
    val missed = if (backend.name == "qnn") QNN_LIBRARIES + ofChip else emptyList()
    return copy(missingLibraries = missingLibraries.filter { !it.startsWith("libQnn") || it in missed })
}

private val QNN_LIBRARIES = listOf("libQnnHtp.so", "libQnnSystem.so")

// Versions of the DSP in the chips that exports are made for.
private val HTP_VERSIONS = mapOf("SM8650" to 75, "SM8750" to 79)

/** The stub on the CPU's side and the skel that runs on the DSP. */
private fun htpLibraries(version: Int) = listOf("libQnnHtpV${version}Stub.so", "libQnnHtpV${version}Skel.so")

/** Describes this phone and the runtime inside this app, so that bundles can be held against it. */
class DeviceInfo(
    private val context: Context,
    private val registeredBackends: () -> Array<String> = { ExecuTorchRuntime.getRegisteredBackends() },
) {
    // Looking once is enough, and it loads the native library: not on the main thread.
    private val runtime by lazy(::readRuntime)

    /** Memory is that of the moment. Takes long the first time. */
    fun read(): Device {
        val memory = ActivityManager.MemoryInfo()
        context.getSystemService(ActivityManager::class.java).getMemoryInfo(memory)
        return Device(
            socModel = socModel(),
            abis = Build.SUPPORTED_ABIS.toList(),
            sdk = Build.VERSION.SDK_INT,
            totalMemoryBytes = memory.totalMem,
            availableMemoryBytes = memory.availMem,
            runtimes = runtime.versions,
            backends = runtime.backends,
            missingLibraries = runtime.missing,
        )
    }

    private class Runtime(val versions: Map<String, String>, val backends: Set<String>, val missing: List<String>)

    private fun readRuntime(): Runtime {
        val versions = versions()
        return try {
            val backends = registeredBackends().mapNotNull { BACKENDS[it] }.toSet()
            Runtime(versions, backends, if (QNN in backends) missingQnnLibraries() else emptyList())
        } catch (_: LinkageError) {
            // A missing or wrong .so is an Error: UnsatisfiedLinkError, then NoClassDefFoundError.
            Runtime(versions, emptySet(), listOf(RUNTIME_LIBRARY))
        } catch (_: RuntimeException) {
            Runtime(versions, emptySet(), listOf(RUNTIME_LIBRARY))
        }
    }

    /** The versions that the build wrote into the manifest; without one for ExecuTorch, what its classes show. */
    private fun versions(): Map<String, String> {
        val data = context.packageManager
            .getApplicationInfo(context.packageName, PackageManager.GET_META_DATA).metaData
        // "1.5" is a float for the resource compiler, "1.3.1" a string.
        @Suppress("DEPRECATION") // the typed getters want to know which
        fun version(name: String) = data?.get("org.mlpexport.runtime.$name")?.toString()?.takeIf { it.isNotBlank() }
        return listOfNotNull(
            (version(EXECUTORCH) ?: versionOfClasses())?.let { EXECUTORCH to it },
            version(QAIRT)?.let { QAIRT to it },
        ).toMap()
    }

    /** LlmModule is Kotlin since 1.4, and can be closed since 1.3. */
    private fun versionOfClasses(): String? = try {
        val module = Class.forName("org.pytorch.executorch.extension.llm.LlmModule", false, javaClass.classLoader)
        when {
            module.declaredFields.any { it.name == "Companion" } -> "1.4"
            AutoCloseable::class.java.isAssignableFrom(module) -> "1.3"
            else -> null
        }
    } catch (_: ReflectiveOperationException) {
        null
    } catch (_: LinkageError) {
        null
    }

    /** QNN's libraries must be real files, because the DSP's loader looks for them by path. */
    private fun missingQnnLibraries(): List<String> {
        val folder = File(context.applicationInfo.nativeLibraryDir.orEmpty())
        val libraries = QNN_LIBRARIES + HTP_VERSIONS.values.flatMap(::htpLibraries)
        return libraries.filterNot { File(folder, it).isFile }
    }

    companion object {
        const val EXECUTORCH = "executorch"
        const val QAIRT = "qairt"
        private const val QNN = "qnn"
        private const val RUNTIME_LIBRARY = "libexecutorch.so"
        private val BACKENDS = mapOf("XnnpackBackend" to "xnnpack", "QnnBackend" to QNN)

        /** ro.soc.model, such as "SM8650"; null before Android 12 and where the maker left it out. */
        fun socModel(): String? {
            if (Build.VERSION.SDK_INT < Build.VERSION_CODES.S) return null
            return Build.SOC_MODEL.takeUnless { it == Build.UNKNOWN || it.isBlank() }
        }
    }
}
