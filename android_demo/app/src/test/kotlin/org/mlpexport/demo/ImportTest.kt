package org.mlpexport.demo

import android.app.Activity
import android.content.ClipData
import android.content.Intent
import android.net.Uri
import android.os.Looper
import android.view.View
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.mlpexport.core.BundleException
import org.mlpexport.core.BundleProblem
import org.mlpexport.demo.TestBundles.files
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowToast
import java.io.File
import java.io.InputStream
import java.util.concurrent.CancellationException
import java.util.concurrent.CountDownLatch

/** The way from the system's picker to a bundle in the app's files. */
class ImportTest : ScreenTest() {
    private val downloads by lazy { File(app.cacheDir, "downloads").apply { mkdirs() } }
    private lateinit var documents: TestDocuments
    private lateinit var controller: ActivityController<BundlesActivity>
    private val activity get() = controller.get()

    @Before
    fun start() {
        documents = TestDocuments.install(downloads)
        controller = Robolectric.buildActivity(BundlesActivity::class.java).setup()
        waitUntil("the list") { app.library.snapshot.items != null }
    }

    @After
    fun close() {
        controller.pause().stop().destroy()
    }

    /** Taps Import and chooses in the picker. */
    private fun choose(menu: Int, result: Intent?) {
        assertTrue(shadowOf(activity).clickMenuItem(menu))
        val request = shadowOf(activity).nextStartedActivityForResult ?: error("no picker")
        val code = if (result == null) Activity.RESULT_CANCELED else Activity.RESULT_OK
        shadowOf(activity).receiveResult(request.intent, code, result)
        controller.pause().resume()
        shadowOf(Looper.getMainLooper()).idle()
    }

    private fun chooseFolder(tree: Uri) = choose(R.id.menu_import_folder, Intent().setData(tree))

    private fun waitForImport() = waitUntil("the import") {
        app.library.snapshot.importing == null && app.library.snapshot.imported == null
    }

    private fun assertNothingKept() = assertEquals(emptyList<String>(), app.imported.list().orEmpty().toList())

    @Test
    fun aFolderIsCopiedCheckedAndListed() {
        TestBundles.write(downloads, "smol")
        File(downloads, "smol/holiday.jpg").writeText("not of the bundle")
        chooseFolder(documents.tree("smol"))
        waitUntil("the card") { app.library.snapshot.item("smol") != null }
        waitForImport()
        val folder = File(app.imported, "smol")
        assertEquals(
            setOf("LICENSE", "manifest.json", "model.pte", "tokenizer.json"),
            folder.list().orEmpty().toSet(),
        )
        assertArrayEquals(File(downloads, "smol/model.pte").readBytes(), File(folder, "model.pte").readBytes())
        val entry = app.library.snapshot.item("smol")?.entry as BundleEntry.Usable
        assertEquals("hashed on the way, so not again", HashState.Checked, entry.hashes)
        assertEquals("smol was imported", ShadowToast.getTextOfLatestToast())
    }

    @Test
    fun theFolderAroundABundleIsGoodEnough() {
        TestBundles.write(File(downloads, "build"), "smol")
        File(downloads, "build/readme.txt").writeText("hello")
        chooseFolder(documents.tree("build"))
        waitUntil("the card") { app.library.snapshot.item("smol") != null }
    }

    @Test
    fun filesAreImportedUnderTheModelsName() {
        val folder = TestBundles.write(downloads, "smol")
        val clip = folder.list().orEmpty().map { ClipData.Item(documents.document("smol/$it")) }
        val data = ClipData("files", arrayOf("*/*"), clip[0]).apply { clip.drop(1).forEach(::addItem) }
        choose(R.id.menu_import_files, Intent().apply { clipData = data })
        waitUntil("the card") { app.library.snapshot.item("SmolLM2-135M-Instruct") != null }
    }

    @Test
    fun aNameThatIsTakenGetsANumber() {
        TestBundles.write(app.imported, "smol")
        TestBundles.write(downloads, "smol")
        chooseFolder(documents.tree("smol"))
        waitUntil("the card") { app.library.snapshot.item("smol-2") != null }
    }

    @Test
    fun aPickerThatIsLeftChangesNothing() {
        choose(R.id.menu_import_folder, null)
        assertNull(app.library.snapshot.importing)
        assertNothingKept()
        choose(R.id.menu_import_folder, null) // and it opens again
    }

    private fun assertFails(sentence: String) {
        waitUntil("the dialog") { dialog() != null }
        assertTrue("“$sentence” in ${dialogText()}", sentence in dialogText())
        waitForImport()
        assertNothingKept()
    }

    @Test
    fun aFolderWithoutABundleIsRefused() {
        File(downloads, "photos").mkdirs()
        chooseFolder(documents.tree("photos"))
        assertFails("has no manifest.json")
    }

    @Test
    fun aWrongHashIsFoundOnTheWay() {
        val folder = TestBundles.write(downloads, "smol")
        File(folder, "model.pte").writeBytes(ByteArray(3000))
        chooseFolder(documents.tree("smol"))
        assertFails("The content of model.pte")
    }

    @Test
    fun aHalfCopiedFileIsFoundBeforeCopying() {
        val folder = TestBundles.write(downloads, "smol")
        File(folder, "model.pte").writeBytes(ByteArray(0))
        chooseFolder(documents.tree("smol"))
        assertFails("model.pte has 0 bytes where the manifest says 3,000")
    }

    @Test
    fun aMissingFileIsNamed() {
        val folder = TestBundles.write(downloads, "smol")
        assertTrue(File(folder, "tokenizer.json").delete())
        chooseFolder(documents.tree("smol"))
        assertFails("tokenizer.json is missing")
    }

    @Test
    fun aNameThatLeadsOutIsRefused() {
        TestBundles.write(downloads, "smol") { it.files.add("../../evil", it.files.get("LICENSE")) }
        chooseFolder(documents.tree("smol"))
        assertFails("names a file “../../evil”")
    }

    @Test
    fun aDeniedPermissionIsASentence() {
        TestBundles.write(downloads, "smol")
        documents.denies = true
        chooseFolder(documents.tree("smol"))
        assertFails("was not allowed to read")
    }

    /** Files whose bytes come only after [go]. */
    private fun slowSource(go: CountDownLatch): ImportSource {
        val folder = TestBundles.write(downloads, "smol")
        return ImportSource(
            "smol",
            folder.listFiles().orEmpty().map { file ->
                ImportFile(file.name, null) {
                    val bytes = file.inputStream()
                    if (file.name != "model.pte") return@ImportFile bytes
                    object : InputStream() {
                        override fun read() = error("read by blocks")

                        override fun read(buffer: ByteArray, offset: Int, length: Int): Int {
                            go.await()
                            return bytes.read(buffer, offset, minOf(length, 1000))
                        }
                    }
                }
            },
        )
    }

    @Test
    fun cancelLeavesNothingBehind() {
        val go = CountDownLatch(1)
        val source = slowSource(go)
        assertTrue(app.library.import("smol") { source })
        waitUntil("progress") { (app.library.snapshot.importing?.total ?: 0) > 0 }
        assertShows(activity, "Importing smol")
        assertShows(activity, "Keep the app open until the import is done.")
        screenshot(activity, "bundles-importing")
        assertFalse("one import at a time", app.library.import("other") { source })
        activity.requireViewById<View>(R.id.import_cancel).performClick()
        go.countDown()
        waitForImport()
        assertEquals("The import was cancelled; nothing was kept", ShadowToast.getTextOfLatestToast())
        assertNothingKept()
        assertShows(activity, "No model yet")
    }

    private fun importer(free: Long) =
        BundleImporter(app.imported, HashLedger(File(app.filesDir, "checked.json"))) { free }

    private fun source(name: String?, folder: File) =
        ImportSource(name, folder.listFiles().orEmpty().map { ImportFile(it.name, it.length()) { it.inputStream() } })

    @Test
    fun aFullPhoneIsSaidBeforeCopying() {
        val folder = TestBundles.write(downloads, "smol")
        val problem = failure { importer(free = 1_000_000).import(source("smol", folder)) { _, _ -> } }
        assertEquals(1_000_000L, (problem as NoSpaceException).free)
        assertTrue("1.0 MB free" in activity.sentence(problem))
        assertNothingKept()
        importer(free = 100_000_000).import(source("smol", folder)) { _, _ -> }
        assertEquals(listOf("smol"), app.imported.list().orEmpty().toList())
    }

    @Test
    fun namesOfFoldersAreMadePlain() {
        val folder = TestBundles.write(downloads, "smol")
        val names = listOf("../..", "My model (2)", ".hidden", "x.partial", "")
            .map { importer(free = Long.MAX_VALUE).import(source(it, folder)) { _, _ -> }.folder.name }
        assertEquals(listOf("bundle", "My-model-2-", "hidden", "x", "bundle-2"), names)
    }

    @Test
    fun aFileThatNeverEndsIsCutOff() {
        val folder = TestBundles.write(downloads, "smol")
        val endless = object : InputStream() {
            override fun read() = 7
        }
        val others = source("smol", folder).files.filter { it.name != "model.pte" }
        val files = others + ImportFile("model.pte", null) { endless }
        val problem = failure { importer(free = Long.MAX_VALUE).import(ImportSource("smol", files)) { _, _ -> } }
        assertEquals(BundleProblem.WRONG_SIZE, (problem as BundleException).problem)
        assertNothingKept()
    }

    @Test
    fun whatAKilledImportLeftIsDeleted() {
        TestBundles.write(app.imported, "smol.partial")
        TestBundles.write(app.imported, "smol")
        TestBundles.write(app.pushed, "other.partial")
        app.bundles.deletePartialImports()
        assertEquals(listOf("smol"), app.imported.list().orEmpty().toList())
        assertEquals("adb may be copying", listOf("other.partial"), app.pushed.list().orEmpty().toList())
    }

    private fun failure(action: () -> Unit): Throwable? = try {
        action()
        null
    } catch (e: CancellationException) {
        throw e
    } catch (e: Exception) {
        e
    }
}
