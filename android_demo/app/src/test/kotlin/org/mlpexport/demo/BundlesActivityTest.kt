package org.mlpexport.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.os.Looper
import android.view.View
import android.widget.Button
import com.google.gson.JsonNull
import com.google.gson.JsonParser
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.Bundle
import org.mlpexport.core.Device
import org.mlpexport.demo.TestBundles.files
import org.mlpexport.demo.TestBundles.model
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowPopupMenu
import java.io.File
import java.io.RandomAccessFile
import java.nio.file.Files

class BundlesActivityTest : ScreenTest() {
    private val controllers = mutableListOf<ActivityController<BundlesActivity>>()

    @After
    fun close() = controllers.forEach { it.pause().stop().destroy() }

    private fun start(intent: Intent = Intent()): BundlesActivity {
        val controller = Robolectric.buildActivity(BundlesActivity::class.java, intent).also { controllers += it }
        val activity = controller.setup().get()
        waitUntil("the list") { app.library.snapshot.items != null }
        return activity
    }

    /** Waits until no bundle's hashes are open. */
    private fun settle() = waitUntil("hashes") {
        app.library.snapshot.items.orEmpty().none { (it.entry as? BundleEntry.Usable)?.hashes == HashState.Unchecked }
    }

    private fun click(activity: BundlesActivity, id: Int) {
        activity.requireViewById<View>(id).performClick()
        shadowOf(Looper.getMainLooper()).idle()
    }

    private fun next(activity: BundlesActivity): String? =
        shadowOf(activity).nextStartedActivity?.component?.shortClassName?.substringAfterLast('.')

    private fun allNext(activity: BundlesActivity) = generateSequence { next(activity) }.toList()

    private fun shownFor(phone: Device = TestBundles.S24, write: (File) -> Unit): List<String> {
        app.phone = phone
        write(app.pushed)
        return start().also { settle() }.let(::texts)
    }

    private fun assertRefused(texts: List<String>, sentence: String) {
        assertTrue("“$sentence” in $texts", texts.any { sentence in it })
        assertFalse("Chat in $texts", "Chat" in texts)
    }

    @Test
    fun withoutABundleTheScreenSaysHowToGetOne() {
        val activity = start()
        assertShows(activity, "No model yet")
        assertShows(activity, "mlp-export push BUNDLE")
        assertTrue(activity.requireViewById<Button>(R.id.empty_import).performClick())
        assertEquals(Intent.ACTION_OPEN_DOCUMENT_TREE, shadowOf(activity).nextStartedActivity.action)
        screenshot(activity, "bundles-empty")
    }

    @Test
    fun aCardSaysWhatTheBundleIs() {
        TestBundles.write(app.pushed, "smol")
        val activity = start()
        settle()
        val texts = texts(activity)
        for (text in listOf(
            "SmolLM2-135M-Instruct", "HuggingFaceTB · Apache-2.0", "CPU", "2,048 tokens", "int4-g32", "Verified",
            "Runs on this phone", "Chat", "Open a document",
        )) {
            assertTrue("“$text” in $texts", text in texts)
        }
        assertTrue(texts.any { "Snapdragon 8 Gen 3" in it && "ExecuTorch 1.3.1" in it })
    }

    @Test
    fun aCardSaysThatAModelDoesNotChat() {
        val none = "The model has no chat template, and continues plain text."
        assertFalse(none in shownFor { TestBundles.write(it, "smol") })
        val texts = shownFor { root -> TestBundles.write(root, "smol") { it.add("chat", JsonNull.INSTANCE) } }
        assertTrue("$texts", none in texts && "Chat" in texts)
    }

    @Test
    fun aHalfCopiedBundleIsNotListed() {
        TestBundles.write(app.pushed, "smol.partial")
        assertShows(start(), "No model yet")
    }

    @Test
    fun aNewerFormatIsRefused() {
        val texts = shownFor { root -> TestBundles.write(root, "new") { it.addProperty("format", 3) } }
        assertRefused(texts, "has format 3, which this app does not know yet")
    }

    @Test
    fun aWrongHashIsRefused() {
        val texts = shownFor { File(TestBundles.write(it, "bad"), "model.pte").writeBytes(ByteArray(3000)) }
        assertRefused(texts, "The content of model.pte is not what the export wrote")
    }

    @Test
    fun aNameThatLeadsOutOfTheFolderIsRefused() {
        val texts = shownFor { root ->
            TestBundles.write(root, "bad") { it.files.add("../evil", it.files.get("LICENSE")) }
        }
        assertRefused(texts, "names a file “../evil”")
    }

    @Test
    fun anEmptyFileIsRefused() {
        val texts = shownFor { File(TestBundles.write(it, "bad"), "model.pte").writeBytes(ByteArray(0)) }
        assertRefused(texts, "model.pte has 0 bytes where the manifest says 3,000")
    }

    @Test
    fun aMissingFileIsRefused() {
        val texts = shownFor { File(TestBundles.write(it, "bad"), "tokenizer.json").delete() }
        assertRefused(texts, "The file tokenizer.json is missing")
    }

    @Test
    fun symbolicLinksAreRefused() {
        val texts = shownFor { root ->
            val pte = File(TestBundles.write(root, "link"), "model.pte")
            val elsewhere = File(app.cacheDir, "elsewhere.pte")
            assertTrue(pte.renameTo(elsewhere))
            Files.createSymbolicLink(pte.toPath(), elsewhere.toPath())
            Files.createSymbolicLink(File(root, "folder").toPath(), TestBundles.write(app.cacheDir, "outside").toPath())
        }
        assertRefused(texts, "model.pte is a symbolic link")
        assertRefused(texts, "folder is a symbolic link")
    }

    @Test
    fun aFolderWithoutAManifestIsRefused() {
        assertRefused(shownFor { File(it, "photos").mkdirs() }, "has no manifest.json")
    }

    @Test
    fun aFolderThatCannotBeReadIsNamed() {
        app.pushed.deleteRecursively()
        app.pushed.writeText("a folder that cannot be listed")
        assertShows(start(), "The folder ${app.pushed.path} cannot be read")
    }

    @Test
    fun aQnnBundleRunsOnItsOwnSnapdragonAlone() {
        TestBundles.writeQnn(app.pushed, "pro")
        app.phone = TestBundles.S24_WITH_QNN
        val activity = start()
        settle()
        assertShows(activity, "Runs on this phone")
        assertShows(activity, "NPU, Snapdragon 8 Gen 3")
        for ((phone, name) in listOf(
            TestBundles.PIXEL to "Tensor G3",
            TestBundles.EXYNOS_S24 to "Exynos 2400 (S5E9945)",
            TestBundles.S25_WITH_QNN to "Snapdragon 8 Elite (SM8750)",
        )) {
            app.phone = phone
            app.library.refresh()
            waitUntil("$name is refused") { texts(activity).any { "this phone has $name" in it } }
            assertRefused(texts(activity), "compiled for the NPU of Snapdragon 8 Gen 3 (SM8650)")
        }
    }

    @Test
    fun aPhoneThatDoesNotSayItsChipIsWarned() {
        val texts = shownFor(TestBundles.S24_WITH_QNN.copy(socModel = null)) { TestBundles.writeQnn(it, "pro") }
        assertTrue("$texts", texts.any { "does not say which chip it has" in it })
        assertTrue("Chat" in texts)
    }

    @Test
    fun aQnnBundleNeedsTheBackend() {
        val texts = shownFor(TestBundles.S24) { TestBundles.writeQnn(it, "pro") }
        assertRefused(texts, "It needs the backend qnn, which the runtime in this app does not have (xnnpack)")
    }

    @Test
    fun aRuntimeThatIsTooOldIsNamed() {
        val texts = shownFor { root ->
            TestBundles.write(root, "new") {
                it.getAsJsonObject("backend").getAsJsonObject("min_runtime").addProperty("executorch", "1.5")
            }
        }
        assertRefused(texts, "It needs executorch 1.5, and this app has executorch 1.3.1")
    }

    @Test
    fun aMissingLibraryIsNamed() {
        val phone = TestBundles.S24.copy(missingLibraries = listOf("libexecutorch.so"))
        assertRefused(shownFor(phone) { TestBundles.write(it, "smol") }, "lacks the native library libexecutorch.so")
    }

    @Test
    fun tooLittleMemoryIsRefusedAndLittleFreeMemoryIsAWarning() {
        TestBundles.write(app.pushed, "big") { it.addProperty("device_ram_bytes", 5_000_000_000) }
        val activity = start()
        settle()
        assertShows(activity, "It needs 5.0 GB of memory, and 3.1 GB are free now")
        assertShows(activity, "Chat")
        app.phone = TestBundles.S24.copy(totalMemoryBytes = 4_000_000_000)
        app.library.refresh()
        waitUntil("refused") { "Chat" !in texts(activity) }
        assertRefused(texts(activity), "It needs 5.0 GB of memory, and this phone has 4.0 GB")
    }

    @Test
    fun anUnverifiedBundleIsMarked() {
        val texts = shownFor { root ->
            TestBundles.write(root, "quick") { it.add("verification", JsonNull.INSTANCE) }
        }
        assertTrue("Not verified" in texts)
        assertTrue(texts.any { "did not verify it" in it })
        assertTrue("Chat" in texts)
    }

    @Test
    fun theLicenseIsAskedForOnceAndThenTheChatOpens() {
        TestBundles.write(app.pushed, "smol")
        val activity = start()
        settle()
        click(activity, R.id.card_chat)
        val request = shadowOf(activity).nextStartedActivityForResult
        assertTrue(request.intent.component?.className.orEmpty().endsWith("LicenseActivity"))
        assertEquals("the chat waits for the license", listOf("LicenseActivity"), allNext(activity))

        val license = Robolectric.buildActivity(LicenseActivity::class.java, request.intent).setup()
        assertShows(license.get(), "Version 2.0, January 2004")
        license.get().requireViewById<Button>(R.id.license_accept).performClick()
        assertTrue(license.get().isFinishing)
        shadowOf(activity).receiveResult(request.intent, Activity.RESULT_OK, null)
        controllers.single().pause().resume()
        shadowOf(Looper.getMainLooper()).idle()
        assertEquals("ChatActivity", next(activity))

        controllers.single().pause().resume()
        click(activity, R.id.card_chat)
        assertEquals("ChatActivity", next(activity))
    }

    @Test
    fun aDeclinedLicenseOpensNothing() {
        TestBundles.write(app.pushed, "smol")
        val activity = start()
        settle()
        click(activity, R.id.card_chat)
        val request = shadowOf(activity).nextStartedActivityForResult
        assertEquals(listOf("LicenseActivity"), allNext(activity))
        shadowOf(activity).receiveResult(request.intent, Activity.RESULT_CANCELED, null)
        controllers.single().pause().resume()
        shadowOf(Looper.getMainLooper()).idle()
        assertEquals(emptyList<String>(), allNext(activity))
        val bundle = app.bundles.find("smol") ?: error("gone")
        assertFalse(app.licenses.accepted(bundle))
    }

    @Test
    fun anotherLicenseTextIsAskedForAgain() {
        TestBundles.write(app.pushed, "smol")
        app.licenses.accept(app.bundles.find("smol") ?: error("gone"))
        TestBundles.write(app.pushed, "smol", mapOf("LICENSE" to "Other terms".toByteArray()))
        assertFalse(app.licenses.accepted(app.bundles.find("smol") ?: error("gone")))
    }

    @Test
    fun theShellOpensABundle() {
        TestBundles.write(app.pushed, "smol")
        app.licenses.accept(app.bundles.find("smol") ?: error("gone"))
        val activity = start(Intent().putExtra("bundle", "smol"))
        settle()
        shadowOf(Looper.getMainLooper()).idle()
        val intent = shadowOf(activity).nextStartedActivity
        assertEquals("ChatActivity", intent?.component?.className?.substringAfterLast('.'))
        assertNull("only once", shadowOf(activity).nextStartedActivity)
    }

    @Test
    fun theShellIsToldOfABundleThatIsNotThere() {
        val activity = start(Intent().putExtra("bundle", "nothing"))
        waitUntil("the dialog") { dialog() != null }
        assertEquals("There is no bundle named nothing on this phone.", dialogText())
        assertNull(shadowOf(activity).nextStartedActivity)
    }

    @Test
    fun twoTapsOpenOneChat() {
        TestBundles.write(app.pushed, "smol")
        app.licenses.accept(app.bundles.find("smol") ?: error("gone"))
        val activity = start()
        settle()
        activity.requireViewById<View>(R.id.card_chat).performClick()
        activity.requireViewById<View>(R.id.card_chat).performClick()
        shadowOf(Looper.getMainLooper()).idle()
        assertEquals("ChatActivity", next(activity))
        assertNull(next(activity))
    }

    @Test
    fun hashesAreCheckedOnceForTheSameFiles() {
        TestBundles.write(app.pushed, "smol")
        start()
        settle()
        fun state(): HashState {
            val nextProcess = BundleServices(app, app.bundleRoots(), app.packedWeights, app::device)
            return (nextProcess.repository.list().single() as BundleEntry.Usable).hashes
        }
        assertEquals("remembered by the next process", HashState.Checked, state())
        val pte = File(app.pushed, "smol/model.pte")
        assertTrue(pte.setLastModified(pte.lastModified() - 60_000))
        assertEquals("another file", HashState.Unchecked, state())
    }

    @Test
    fun aDamagedLedgerMeansAnotherCheck() {
        TestBundles.write(app.pushed, "smol")
        val file = File(app.filesDir, "checked.json")
        for (text in listOf("", "[]", "{\"${app.pushed.path}/smol\": 7}", "{")) {
            file.writeText(text)
            val bundle = app.bundles.find("smol") ?: error("gone")
            assertEquals(text, HashState.Unchecked, HashLedger(file).state(bundle))
            HashLedger(file).record(bundle, "model.pte")
            assertEquals(text, HashState.Wrong("model.pte"), HashLedger(file).state(bundle))
        }
    }

    @Test
    fun aDeclinedLicenseIsNotAskedForAgainWhenThePhoneWasTurned() {
        TestBundles.write(app.pushed, "smol")
        val before = start()
        settle()
        click(before, R.id.card_chat)
        val request = shadowOf(before).nextStartedActivityForResult
        assertEquals(LicenseActivity::class.java.name, request.intent.component?.className)
        allNext(before) // Robolectric counts it twice
        val state = android.os.Bundle()
        controllers.last().pause().stop().saveInstanceState(state)
        val turned = Robolectric.buildActivity(BundlesActivity::class.java).also { controllers += it }
        turned.create(state).start() // the list is drawn before the answer is there
        idle()
        assertNull(next(turned.get()))
        decline(turned.get(), request.requestCode)
        turned.resume().visible()
        idle()
        assertNull(next(turned.get()))
        click(turned.get(), R.id.card_chat)
        assertEquals("LicenseActivity", next(turned.get()))
    }

    @Test
    fun deletingAsksFirst() {
        val folder = TestBundles.write(app.imported, "smol")
        val activity = start()
        settle()
        click(activity, R.id.card_more)
        val delete = ShadowPopupMenu.getLatestPopupMenu().menu.run { getItem(size() - 1) }
        assertEquals("Delete", delete.title)
        ShadowPopupMenu.getLatestPopupMenu().menu.performIdentifierAction(delete.itemId, 0)
        assertTrue(dialogText(), "will be free" in dialogText())
        assertTrue("nothing is gone yet", folder.exists())
        dialog()?.getButton(AlertDialog.BUTTON_POSITIVE)?.performClick()
        waitUntil("deleted") { app.library.snapshot.items?.isEmpty() == true }
        assertFalse(folder.exists())
        assertShows(activity, "No model yet")
    }

    @Test
    fun packedWeightsGoWithTheirBundle() {
        TestBundles.write(app.imported, "smol")
        TestBundles.write(app.imported, "other", mapOf("model.pte" to ByteArray(9)))
        val packed = File(app.cacheDir, "packed").apply { mkdirs() }
        fun keep(name: String) {
            val hash = app.bundles.find(name)?.manifest?.files?.get("model.pte")?.sha256 ?: error("gone")
            File(packed, hash.take(32) + "-runtime").writeText(name)
        }
        keep("smol")
        keep("other")
        File(packed, "0".repeat(32) + "-runtime").writeText("of a bundle that is gone")
        start()
        settle()
        assertEquals(setOf("smol", "other"), packed.listFiles().orEmpty().map { it.readText() }.toSet())
        app.library.delete(app.bundles.entry("smol") ?: error("gone")) { assertTrue(it) }
        waitUntil("deleted") { app.library.snapshot.items?.size == 1 }
        assertEquals(listOf("other"), packed.listFiles().orEmpty().map { it.readText() })
    }

    @Test
    fun deletingDoesNotFollowLinksOutOfTheFolder() {
        val folder = TestBundles.write(app.imported, "smol")
        val outside = File(app.cacheDir, "outside").apply { mkdirs() }
        val kept = File(outside, "kept").apply { writeText("kept") }
        Files.createSymbolicLink(File(folder, "link").toPath(), outside.toPath())
        assertTrue(app.bundles.delete(app.bundles.entry("smol") ?: error("gone")))
        assertFalse(folder.exists())
        assertTrue(kept.exists())
    }

    @Test
    fun ofTwoBundlesWithOneNameTheUsableOneIsTaken() {
        TestBundles.write(app.imported, "smol") { it.addProperty("format", 9) }
        TestBundles.write(app.pushed, "smol")
        assertEquals(app.pushed, app.bundles.find("smol")?.folder?.parentFile)
        TestBundles.write(app.imported, "smol")
        assertEquals(app.imported, app.bundles.find("smol")?.folder?.parentFile)
        assertEquals(1, app.bundles.list().size)
    }

    private fun writeThree() {
        enlarge(TestBundles.write(app.imported, "smol"), 77_935_488)
        enlarge(TestBundles.writeQnn(app.pushed, "pro", "sm8750"), 706_000_000)
        TestBundles.write(app.pushed, "half")
        File(app.pushed, "half/model.pte").writeBytes(ByteArray(17))
        app.phone = TestBundles.S24_WITH_QNN
    }

    /** Gives a bundle the size of a real one, without its bytes, and counts its hashes as checked. */
    private fun enlarge(folder: File, bytes: Long) {
        RandomAccessFile(File(folder, "model.pte"), "rw").use { it.setLength(bytes) }
        val manifest = File(folder, "manifest.json")
        val json = JsonParser.parseString(manifest.readText()).asJsonObject
        json.files.getAsJsonObject("model.pte").addProperty("bytes", bytes)
        manifest.writeText(json.toString())
        HashLedger(File(app.filesDir, "checked.json")).record(Bundle.open(folder), wrong = null)
    }

    private fun picture(name: String, qualifiers: String = "", fontScale: Float = 1f) {
        RuntimeEnvironment.setQualifiers("+$qualifiers")
        RuntimeEnvironment.setFontScale(fontScale)
        writeThree()
        val activity = start()
        settle()
        screenshot(activity, name)
        assertTrue(activity.requireViewById<View>(R.id.bundles).height > 0)
    }

    @Test
    fun pictureLight() = picture("bundles")

    @Test
    fun pictureDark() = picture("bundles-dark", "night")

    @Test
    fun pictureLargeFont() = picture("bundles-large-font", fontScale = 2f)

    @Test
    fun pictureLandscape() = picture("bundles-landscape", "w914dp-h411dp-land")

    @Test
    fun pictureGerman() = picture("bundles-german", "de")
}
