package org.mlpexport.core

import com.google.gson.JsonObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.nio.file.Files
import java.nio.file.Path

class ManifestVectorsTest {
    @get:Rule val temporary = TemporaryFolder()

    @Test
    fun `bundles, good and bad`() {
        val cases = vectors("manifests.json").objects("cases")
        assertTrue("${cases.size} cases", cases.size > 100)
        cases.forEachIndexed { index, case ->
            val folder = layOut(case, File(temporary.root, "$index"))
            val expected = case.stringOrNull("problem")
            val found =
                try {
                    Bundle.open(folder).also { it.checkHashes() }
                } catch (exception: BundleException) {
                    assertEquals("${case.name}: ${exception.detail}", expected, exception.problem.name)
                    return@forEachIndexed
                }
            assertEquals(case.name, expected, null)
            assertEquals(case.name, Manifest.parse(case.get("read").toString()), found.manifest)
        }
    }

    private fun layOut(case: JsonObject, folder: File): File {
        folder.mkdirs()
        case.stringOrNull("manifest")?.let { File(folder, "manifest.json").writeText(it) }
        for ((name, text) in case.getAsJsonObject("files").entrySet()) File(folder, name).writeText(text.asString)
        for ((name, target) in case.getAsJsonObject("links").entrySet()) {
            Files.createSymbolicLink(File(folder, name).toPath(), Path.of(target.asString))
        }
        for (name in case.strings("folders")) File(folder, name).mkdirs()
        return folder
    }

    @Test
    fun `progress of the hashes, and its end by the caller`() {
        val case = vectors("manifests.json").objects("cases").first()
        val bundle = Bundle.open(layOut(case, File(temporary.root, "good")))
        val total = bundle.manifest.files.values.sumOf { it.bytes }
        val seen = ArrayList<Long>()
        bundle.checkHashes { done, all ->
            assertEquals(total, all)
            seen += done
        }
        assertEquals(seen.sorted(), seen)
        assertEquals(total, seen.last())
        class Cancelled : Exception()
        assertThrows(Cancelled::class.java) { bundle.checkHashes { _, _ -> throw Cancelled() } }
    }

    @Test
    fun `a manifest that is a link, too long, or in UTF-16`() {
        val text = vectors("manifests.json").objects("cases").first().get("manifest").asString
        val folder = temporary.newFolder()
        val manifest = File(folder, "manifest.json")
        manifest.writeText(text + " ".repeat(5 shl 20))
        assertEquals(BundleProblem.DAMAGED_MANIFEST, problem(folder))
        manifest.writeBytes(text.toByteArray(Charsets.UTF_16))
        assertEquals(BundleProblem.DAMAGED_MANIFEST, problem(folder))
        manifest.delete()
        Files.createSymbolicLink(manifest.toPath(), Path.of("elsewhere.json"))
        assertEquals(BundleProblem.SYMBOLIC_LINK, problem(folder))
        assertEquals(BundleProblem.NOT_A_BUNDLE, problem(File(folder, "gone")))
    }

    @Test
    fun `deep nesting and huge numbers cost nothing`() {
        val deep = "[".repeat(100_000)
        val long = "9".repeat(100_000)
        for (text in listOf(deep, "{\"format\": $deep", "{\"format\": 1e999999999}", "{\"format\": $long}")) {
            val problem = assertThrows(BundleException::class.java) { Manifest.parse(text) }
            assertEquals(BundleProblem.DAMAGED_MANIFEST, problem.problem)
            assertTrue(problem.detail, problem.detail.length < 300)
        }
    }

    private fun problem(folder: File) = assertThrows(BundleException::class.java) { Bundle.open(folder) }.problem
}
