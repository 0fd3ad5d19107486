package org.mlpexport.demo

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.mlpexport.core.Bundle
import java.io.File
import java.util.concurrent.AbstractExecutorService
import java.util.concurrent.TimeUnit

/** The library apart from its screen, and what is known of hashes. */
class BundleLibraryTest : ScreenTest() {
    private val file by lazy { File(app.filesDir, "checked.json") }
    private val ledger by lazy { HashLedger(file) }

    @Before
    fun writeBundle() {
        TestBundles.write(app.pushed, "smol")
    }

    /** Runs its work when the test says so, on the test's thread. */
    private class ByHand : AbstractExecutorService() {
        val waiting = ArrayDeque<Runnable>()

        override fun execute(command: Runnable) {
            waiting += command
        }

        fun run() {
            while (waiting.isNotEmpty()) waiting.removeFirst().run()
            idle()
        }

        override fun shutdown() = Unit

        override fun shutdownNow() = emptyList<Runnable>()

        override fun isShutdown() = false

        override fun isTerminated() = false

        override fun awaitTermination(timeout: Long, unit: TimeUnit) = true
    }

    private val looker = ByHand()
    private val worker = ByHand()

    private fun library(): BundleLibrary {
        val repository = BundleRepository(app.bundleRoots(), ledger)
        val importer = BundleImporter(app.imported, ledger) { Long.MAX_VALUE }
        return BundleLibrary(repository, ledger, importer, { app.phone }, app.packedWeights, looker, worker)
    }

    private fun BundleLibrary.hashes() = (snapshot.item("smol")?.entry as BundleEntry.Usable).hashes

    @Test
    fun aLedgerThatCannotBeWrittenIsStillRemembered() {
        assertTrue("as on a full phone", File(file.path + ".new/inside").mkdirs())
        val library = library()
        library.refresh()
        looker.run()
        assertEquals(HashState.Unchecked, library.hashes())
        worker.run()
        looker.run()
        assertEquals(HashState.Checked, library.hashes())
        assertTrue(library.snapshot.item("smol")?.isChecked == true)
        val bundle = library.repository.find("smol") ?: error("gone")
        assertEquals("until the next start", HashState.Unchecked, HashLedger(file).state(bundle))
        assertTrue(File(file.path + ".new").deleteRecursively())
        ledger.record(Bundle.open(TestBundles.write(app.pushed, "other")), wrong = "LICENSE")
        assertEquals("written with the next one", HashState.Checked, HashLedger(file).state(bundle))
    }

    @Test
    fun aFileThatCouldNotBeReadIsCheckedAtTheNextLook() {
        val library = library()
        library.refresh()
        looker.run()
        assertEquals("cleaning, and the check", 2, worker.waiting.size)
        val pte = File(app.pushed, "smol/model.pte")
        val away = File(app.cacheDir, "away")
        assertTrue(pte.renameTo(away))
        worker.run()
        assertTrue(away.renameTo(pte))
        looker.run()
        assertEquals(HashState.Unchecked, library.hashes())
        assertEquals("not again by itself: that would never end", 0, worker.waiting.size)
        library.refresh()
        looker.run()
        assertEquals(1, worker.waiting.size)
        worker.run()
        looker.run()
        assertEquals(HashState.Checked, library.hashes())
    }

    @Test
    fun aBundleThatCannotBeDeletedKeepsItsHashes() {
        val bundle = Bundle.open(File(app.pushed, "smol"))
        ledger.record(bundle, wrong = null)
        val roots = app.bundleRoots()
        val ofAdb = BundleRepository(roots, ledger) { false }
        assertFalse(ofAdb.delete(ofAdb.entry("smol") ?: error("gone")))
        assertEquals(HashState.Checked, ledger.state(bundle))
        val own = BundleRepository(roots, ledger)
        assertTrue(own.delete(own.entry("smol") ?: error("gone")))
        assertFalse("smol" in file.readText())
    }

    @Test
    fun cleaningComesBeforeAnImportAndNotIntoIt() {
        val source = TestBundles.write(app.cacheDir, "new")
        TestBundles.write(app.imported, "killed.partial")
        val library = library()
        // The picker's answer comes before the first look, where the process was ended under the picker.
        var written = emptyList<String>()
        val files = source.listFiles().orEmpty().map { file ->
            ImportFile(file.name, file.length()) {
                if (file.name == "tokenizer.json") {
                    library.refresh()
                    looker.run()
                    written = app.imported.list().orEmpty().toList()
                }
                file.inputStream()
            }
        }
        assertTrue(library.import("new") { ImportSource("new", files) })
        worker.run()
        assertEquals("while copying, after a refresh", listOf("new.partial"), written)
        assertEquals(BundleLibrary.Imported("new", null), library.snapshot.imported)
        looker.run()
        assertEquals(setOf("new", "smol"), library.snapshot.items.orEmpty().map { it.entry.name }.toSet())
    }
}
