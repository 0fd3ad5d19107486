package org.mlpexport.demo

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.mlpexport.core.Bundle
import org.mlpexport.demo.engine.PackedWeights
import java.io.File
import java.util.zip.CRC32
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** Which runtime a file of packed weights belongs to: [PackedWeights.use] deletes those of all others. */
class PackedWeightsTest {
    @get:Rule val temporary = TemporaryFolder()

    private val library = "the runtime".toByteArray()
    private lateinit var bundle: Bundle
    private val folder by lazy { temporary.newFolder("packed") }

    @Before
    fun writeBundle() {
        bundle = Bundle.open(TestBundles.write(temporary.root, "smol"))
    }

    private fun apk(vararg entries: Pair<String, ByteArray>) = temporary.newFile().also { file ->
        ZipOutputStream(file.outputStream()).use { zip ->
            entries.forEach { (name, bytes) ->
                zip.putNextEntry(ZipEntry(name))
                zip.write(bytes)
            }
        }
    }

    private fun inApk(bytes: ByteArray) =
        "%08x%x".format(null, CRC32().apply { update(bytes) }.value, bytes.size)

    /** The ends of the names, of [runtimes], whose files [packed] keeps. */
    private fun kept(packed: PackedWeights, runtimes: List<String>): List<String> {
        val program = bundle.manifest.files.getValue("model.pte").sha256.take(32)
        runtimes.forEach { File(folder, "$program-$it").writeText("weights") }
        assertFalse("there is no native library in this test", packed.use(bundle))
        return folder.list().orEmpty().map { it.substringAfter('-') }
    }

    @Test
    fun aLibraryThatIsAFileIsKnownByItsHash() {
        val file = temporary.newFile("libexecutorch.so").apply { writeBytes(library) }
        val hash = TestBundles.sha256(library).take(32)
        val apk = apk("lib/arm64-v8a/libexecutorch.so" to "another".toByteArray())
        val packed = PackedWeights(folder, file, listOf(apk), listOf("arm64-v8a"))
        assertEquals(listOf(hash), kept(packed, listOf(hash, inApk("another".toByteArray()), "unknown")))
    }

    @Test
    fun aLibraryInTheApkIsKnownByItsEntry() {
        val nothing = File(temporary.root, "lib/libexecutorch.so")
        val base = apk("classes.dex" to ByteArray(9))
        val other = "for 32 bits".toByteArray()
        val split = apk("lib/armeabi-v7a/libexecutorch.so" to other, "lib/arm64-v8a/libexecutorch.so" to library)
        val runtimes = listOf(inApk(library), inApk(other), "unknown")
        val apks = listOf(File(temporary.root, "gone.apk"), base, split)
        val packed = PackedWeights(folder, nothing, apks, listOf("arm64-v8a", "armeabi-v7a"))
        assertEquals(listOf(inApk(library)), kept(packed, runtimes))
        val update = apk("lib/arm64-v8a/libexecutorch.so" to "the runtimf".toByteArray())
        val updated = PackedWeights(folder, nothing, listOf(base, update), listOf("arm64-v8a"))
        assertEquals("after an update", emptyList<String>(), kept(updated, runtimes))
    }

    @Test
    fun withoutBothTheRuntimeIsUnknown() {
        val packed = PackedWeights(folder, File(temporary.root, "none"), listOf(apk("a" to library)), listOf("arm64-v8a"))
        assertEquals(listOf("unknown"), kept(packed, listOf("unknown", inApk(library))))
    }
}
