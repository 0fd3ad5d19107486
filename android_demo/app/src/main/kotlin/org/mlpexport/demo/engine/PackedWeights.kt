package org.mlpexport.demo.engine

import org.mlpexport.core.Bundle
import org.mlpexport.core.sha256
import java.io.File
import java.io.IOException
import java.util.zip.ZipFile

/**
 * Files in which XNNPACK keeps its packed weights, so that a later load maps them instead of packing again: about as
 * large as the `.pte`, and memory that the system can take back.
 *
 * It takes a runtime that was built with `src/main/cpp/packed_weights_jni.cpp`. Stock runtimes have no such function:
 * then [use] is false and weights are packed at each load. A file is named after the hashes of the program and of the
 * runtime, because XNNPACK adds nothing to a file that another model wrote. [folder] is one that is not backed up.
 *
 * Where the installer leaves libraries in the APK (extractNativeLibs=false) there is no [runtimeLibrary]: then the
 * checksum and the size of its entry in [apks], for the first of [abis] that is in there, stand for it.
 */
class PackedWeights(
    private val folder: File,
    private val runtimeLibrary: File,
    private val apks: List<File> = emptyList(),
    private val abis: List<String> = emptyList(),
) {
    private val runtime by lazy {
        if (runtimeLibrary.isFile) sha256(runtimeLibrary).take(HASH) else runtimeInApk() ?: "unknown"
    }

    /** Lets the loads that follow keep the packed weights of [bundle]. */
    fun use(bundle: Bundle): Boolean {
        if (bundle.manifest.backend.name != "xnnpack") return false
        folder.mkdirs()
        files(bundle).filter { it != file(bundle) }.forEach(File::delete) // of a runtime before an update
        return try {
            keepIn(file(bundle).path)
        } catch (_: UnsatisfiedLinkError) {
            false
        }
    }

    /** Bytes on the disk; 0 where nothing is kept. */
    fun bytes(bundle: Bundle): Long = files(bundle).sumOf(File::length)

    fun delete(bundle: Bundle) = files(bundle).forEach(File::delete)

    /** Deletes what belongs to none of [bundles]: those were deleted or pushed again while the app was away. */
    fun deleteAllBut(bundles: Collection<Bundle>) {
        val kept = bundles.map(::program).toSet()
        folder.listFiles().orEmpty().filter { it.name.substringBefore('-') !in kept }.forEach(File::delete)
    }

    private fun runtimeInApk(): String? = abis.firstNotNullOfOrNull { abi ->
        apks.firstNotNullOfOrNull { entry(it, "lib/$abi/${runtimeLibrary.name}") }
    }

    private fun entry(apk: File, name: String): String? = try {
        ZipFile(apk).use { zip -> zip.getEntry(name)?.let { "%08x%x".format(null, it.crc, it.size) } }
    } catch (_: IOException) {
        null
    }

    private fun file(bundle: Bundle) = File(folder, "${program(bundle)}-$runtime")

    private fun files(bundle: Bundle) =
        folder.listFiles().orEmpty().filter { it.name.substringBefore('-') == program(bundle) }

    private fun program(bundle: Bundle) = bundle.manifest.files.getValue(bundle.pte.name).sha256.take(HASH)

    private external fun keepIn(path: String): Boolean

    private companion object {
        const val HASH = 32 // hexadecimal digits; the whole path may have 255 bytes
    }
}
