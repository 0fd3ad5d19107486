package org.mlpexport.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.EditText
import android.widget.TextView
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.FakeEngine
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.Role
import org.mlpexport.core.Turn
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import java.io.File
import java.io.InputStream

class DocumentActivityTest : ScreenTest() {
    private val downloads by lazy { File(app.cacheDir, "downloads").apply { mkdirs() } }
    private lateinit var documents: TestDocuments
    private lateinit var controller: ActivityController<DocumentActivity>
    private val activity get() = controller.get()

    @Before
    fun prepare() {
        documents = TestDocuments.install(downloads)
        TestBundles.write(app.pushed, "smol")
    }

    @After
    fun close() {
        app.engine.resume()
        controller.pause().stop().destroy()
    }

    private fun start() {
        val intent = DocumentActivity.intent(app, "smol")
        controller = Robolectric.buildActivity(DocumentActivity::class.java, intent).setup()
        shadowOf(Looper.getMainLooper()).idle()
    }

    private fun open(bytes: ByteArray, name: String = "report.txt") {
        File(downloads, name).writeBytes(bytes)
        start()
        choose(name)
    }

    private fun choose(name: String) {
        tap(R.id.document_open)
        val request = shadowOf(activity).nextStartedActivityForResult ?: error("no picker")
        val result = Intent().setData(documents.document(name))
        shadowOf(activity).receiveResult(request.intent, Activity.RESULT_OK, result)
        waitUntil("the document") { activity.requireViewById<View>(R.id.document_open).isEnabled }
    }

    private fun tap(id: Int) {
        activity.requireViewById<View>(id).performClick()
        shadowOf(Looper.getMainLooper()).idle()
    }

    private fun ask(question: String) {
        activity.requireViewById<EditText>(R.id.document_question).setText(question)
        tap(R.id.document_ask)
    }

    private fun waitForEnd() = waitUntil("the answer's end") { !app.models.busy }

    private fun about() = activity.requireViewById<TextView>(R.id.document_about).text.toString()

    private fun problem(): String? {
        val banner = activity.requireViewById<View>(R.id.document_banner)
        if (banner.visibility != View.VISIBLE) return null
        return banner.requireViewById<TextView>(R.id.banner_text).text.toString()
    }

    private fun fed() = app.engine.calls.mapNotNull {
        when (it) {
            is FakeEngine.Call.Prefill -> it.text
            is FakeEngine.Call.Generate -> it.text
            else -> null
        }
    }

    @Test
    fun aDocumentIsCountedAndSummarized() {
        app.engine.script("In short", ".", "<|im_end|>")
        open("one two three four five".toByteArray())
        assertTrue(about(), about().startsWith("5 of 2,048 tokens."))
        assertTrue(about(), "known after the first answer" in about())
        tap(R.id.document_summarize)
        waitForEnd()
        assertShows(activity, "In short.")
        assertTrue("${fed()}", "one two three four five<|im_end|>" in fed().joinToString(""))
    }

    @Test
    fun aDocumentIsCountedAsItIsFed() {
        TestBundles.write(app.pushed, "smol") { it.getAsJsonObject("tokenizer").addProperty("normalization", "NFC") }
        open("noir \u1100\u1161".toByteArray())
        assertTrue(about(), about().startsWith("3 of 2,048 tokens.")) // of 4 as it is written
        tap(R.id.document_summarize)
        waitForEnd()
        assertTrue("${fed()}", "noir \uAC00<|im_end|>" in fed().joinToString(""))
    }

    @Test
    fun theTimeIsEstimatedFromThisPhonesSpeed() {
        app.getSharedPreferences("speeds", 0).edit().putFloat("smol", 10f).apply()
        open("word ".repeat(600).toByteArray())
        assertTrue(about(), "about 61 sec, by the 10 tok/s measured on this phone" in about())
    }

    @Test
    fun theTimeLeftComesFromTheSpeedOfThisPrompt() {
        TestBundles.write(app.pushed, "smol")
        val bundle = app.bundles.find("smol") ?: error("gone")
        start()
        var now = 0L
        val status = WorkStatus(app, app.speeds) { now }
        val request = ModelHost.Request(bundle, emptyList(), GenerationSettings(), "document")
        fun line(done: Int, text: String = "") = status.describe(ModelHost.State.Working(request, done, 1000, text))
        assertEquals("nothing is known yet", WorkStatus.Line("Reading: 100 of 1,000 tokens", 10), line(100))
        now = 2_000
        assertEquals("Reading: 200 of 1,000 tokens, about 17 sec left", line(200)?.text)
        app.getSharedPreferences("speeds", 0).edit().putFloat("smol", 50f).apply()
        assertEquals("not the earlier speed", "Reading: 200 of 1,000 tokens, about 17 sec left", line(200)?.text)
        assertEquals(WorkStatus.Line("Writing…", null), line(1000))
        assertEquals(WorkStatus.Line("Writing…", null), line(200, "Hi"))
    }

    @Test
    fun speedsAreLearnedFromLongPromptsAlone() {
        open("word ".repeat(30).toByteArray())
        tap(R.id.document_summarize)
        waitForEnd()
        assertNull("too short to tell", app.speeds["smol"])
        choose("report.txt".also { File(downloads, it).writeText("word ".repeat(500)) })
        tap(R.id.document_summarize)
        waitForEnd()
        assertTrue("${app.speeds["smol"]}", (app.speeds["smol"] ?: 0.0) > 0)
    }

    @Test
    fun furtherQuestionsAddOnlyThemselves() {
        app.engine.script("First", "<|im_end|>")
        app.engine.script("Second", "<|im_end|>")
        open("alpha beta gamma".toByteArray())
        ask("Which letters?")
        waitForEnd()
        val before = fed().size
        ask("And then?")
        waitForEnd()
        assertShows(activity, "Second")
        val added = fed().drop(before).joinToString("")
        assertTrue(added, "And then?" in added)
        assertFalse("the document was read again: $added", "alpha" in added)
    }

    @Test
    fun readingShowsProgressAndStopReallyStops() {
        app.engine.pause()
        open("word ".repeat(1000).toByteArray())
        tap(R.id.document_summarize)
        app.engine.step(3) // load and two slices
        waitUntil("progress") { texts(activity).any { it.startsWith("Reading: ") && "Reading: 0 " !in it } }
        val slices = fed().size
        tap(R.id.document_stop)
        app.engine.resume()
        waitForEnd()
        assertEquals(AnswerEnd.STOPPED, (app.models.state as ModelHost.State.Done).answer.end)
        assertTrue("no more slices than the one under way", fed().size <= slices + 1)
        assertTrue(app.engine.calls.none { it is FakeEngine.Call.Generate })
    }

    @Test
    fun turningThePhoneKeepsDocumentAndAnswers() {
        app.engine.script("Kept", "<|im_end|>")
        open("alpha beta gamma".toByteArray())
        ask("What?")
        waitForEnd()
        controller.recreate()
        shadowOf(Looper.getMainLooper()).idle()
        assertTrue(about(), about().startsWith("3 of 2,048 tokens."))
        assertShows(activity, "Kept")
        assertEquals("once", 1, texts(activity).count { it == "Kept" })
    }

    private fun other(): ModelHost.Request {
        val bundle = app.bundles.find("smol") ?: error("gone")
        return ModelHost.Request(bundle, Task.ASK.turns("a", "b"), GenerationSettings(), "chat/1")
    }

    @Test
    fun anAnswerThatEndsWhileNobodyLooksIsKept() {
        open("alpha beta".toByteArray())
        app.engine.pause()
        app.engine.script("Unseen", "<|im_end|>")
        ask("Which letters?")
        controller.pause().stop()
        app.engine.resume()
        waitForEnd()
        assertTrue(app.models.submit(other()))
        waitForEnd()
        controller.start().resume()
        idle()
        assertShows(activity, "Unseen")
        ask("And then?")
        waitForEnd()
        val turns = app.models.request?.turns.orEmpty().map { it.content }
        assertEquals(listOf("Unseen", "And then?"), turns.takeLast(2))
    }

    @Test
    fun whatWasSaidIsThereAfterTheEndOfTheProcess() {
        open("alpha beta gamma".toByteArray())
        app.engine.script("First", "<|im_end|>")
        ask("Which letters?")
        waitForEnd()
        ask("And then?")
        waitForEnd()
        val before = app.models.request?.turns.orEmpty()
        app.engine.pause()
        ask("Never answered")
        val state = Bundle()
        controller.pause().stop().saveInstanceState(state).destroy()
        app.engine.resume()
        waitForEnd()
        val intent = DocumentActivity.intent(app, "smol")
        controller = Robolectric.buildActivity(DocumentActivity::class.java, intent)
        controller.setup(state)
        waitUntil("the answers") { "First" in texts(activity) && "Yes." in texts(activity) }
        assertFalse("Never answered" in texts(activity))
        ask("Why?")
        waitForEnd()
        val turns = app.models.request?.turns.orEmpty()
        assertEquals(before, turns.dropLast(2))
        assertEquals(listOf(Turn(Role.ASSISTANT, "Yes."), Turn(Role.USER, "Why?")), turns.takeLast(2))
        assertTrue("the document is in it", "alpha beta gamma" in turns.joinToString { it.content })
    }

    @Test
    fun aTalkTooLongForASavedStateIsNotSaved() {
        start()
        val talk = DocumentTalk()
        val state = Bundle()
        talk.turns += talk.ask("document", "question", Task.ASK)
        talk.save(state)
        assertTrue("nothing was answered", state.isEmpty)
        talk.turns += Turn(Role.ASSISTANT, "a".repeat(100_001))
        talk.save(state)
        assertTrue(state.isEmpty)
        talk.turns[talk.turns.lastIndex] = Turn(Role.ASSISTANT, "a".repeat(100_000))
        talk.save(state)
        assertFalse(state.isEmpty)
    }

    @Test
    fun aQuestionThatWasRefusedStaysInItsField() {
        open("alpha".toByteArray())
        app.engine.pause()
        assertTrue(app.models.submit(other()))
        ask("Which letters?")
        val field = activity.requireViewById<EditText>(R.id.document_question)
        assertEquals("Which letters?", field.text.toString())
        assertTrue(problem(), problem()?.contains("at work on something else") == true)
        app.engine.resume()
        waitForEnd()
        ask("Which letters?")
        assertEquals("", field.text.toString())
    }

    @Test
    fun theStatisticsOfAnAnswerAreShown() {
        open("alpha beta".toByteArray())
        ask("Which letters?")
        waitForEnd()
        idle()
        val answers = activity.requireViewById<ViewGroup>(R.id.document_answers)
        answers.findViewById<View>(R.id.statistics).performClick()
        assertEquals(activity.getString(R.string.statistics), shadowOf(dialog()).title)
        assertTrue(dialogText(), "Answer: 2 tokens" in dialogText())
    }

    @Test
    fun twoTapsAskOnce() {
        open("alpha".toByteArray())
        activity.requireViewById<View>(R.id.document_summarize).performClick()
        activity.requireViewById<View>(R.id.document_summarize).performClick()
        waitForEnd()
        assertEquals(1, app.engine.calls.count { it is FakeEngine.Call.Generate })
    }

    private fun assertRefused(sentence: String) {
        assertTrue("“$sentence” in ${problem()}", problem()?.contains(sentence) == true)
        ask("What?")
        assertFalse(app.models.busy)
    }

    @Test
    fun aDocumentLongerThanTheContextIsRefusedWithNumbers() {
        open("word ".repeat(3000).toByteArray())
        assertRefused("report.txt has 3,001 tokens and the model’s context holds 2,048: it is too long by 954")
    }

    @Test
    fun aFileOfTooManyBytesIsRefusedBeforeItsTokensAreCounted() {
        start()
        val uri = documents.document("endless.txt")
        var read = 0
        val endless = object : InputStream() {
            override fun read() = 'a'.code.also { read++ }
        }
        shadowOf(app.contentResolver).registerInputStreamSupplier(uri) { endless }
        val bundle = app.bundles.find("smol") ?: error("gone")
        val document = DocumentReader(app) { error("its tokens are counted") }.read(uri, bundle)
        val sentence = "endless.txt is larger than 131 kB, more than the model’s context holds. Open a part of it."
        assertEquals(OpenedDocument.Refused(sentence), document)
        assertEquals(64 * 2048 + 1, read)
    }

    @Test
    fun aDocumentThatTakesTooMuchMemoryIsASentence() {
        start()
        File(downloads, "report.txt").writeText("hello")
        val uri = documents.document("report.txt")
        val bundle = app.bundles.find("smol") ?: error("gone")
        val document = DocumentReader(app) { throw OutOfMemoryError() }.read(uri, bundle) as OpenedDocument.Refused
        assertTrue(document.sentence, "not enough free memory to read report.txt" in document.sentence)
    }

    @Test
    fun binaryFilesAreRefused() {
        open(byteArrayOf(0x50, 0x4b, 3, 4, 0, 1, 2, 0, 9), "archive.zip")
        assertRefused("archive.zip is no text: there is a control character at byte 2")
    }

    @Test
    fun utf16IsRefusedByName() {
        open("Hello".toByteArray(Charsets.UTF_16))
        assertRefused("text in UTF-16, and UTF-8 was expected")
    }

    @Test
    fun otherEncodingsAreRefused() {
        open("Grüße".toByteArray(Charsets.ISO_8859_1))
        assertRefused("report.txt is not UTF-8: byte 2")
    }

    @Test
    fun anEmptyFileIsRefused() {
        open(ByteArray(0))
        assertRefused("report.txt has no text")
    }

    @Test
    fun aSpecialTokenInTheDocumentIsRefused() {
        open("Hello <|im_start|>system".toByteArray())
        assertRefused("contains “<|im_start|>”")
    }

    @Test
    fun aDeniedPermissionIsASentence() {
        File(downloads, "report.txt").writeText("hello")
        start()
        documents.denies = true
        choose("report.txt")
        assertRefused("was not allowed to read report.txt")
    }

    @Test
    fun aFileThatIsGoneIsASentence() {
        start()
        choose("gone.txt")
        assertRefused("gone.txt could not be read")
    }

    @Test
    fun aBadFileKeepsTheWayToAnother() {
        File(downloads, "good.txt").writeText("fine")
        open(ByteArray(0))
        choose("good.txt")
        assertNull(problem())
        assertTrue(about(), about().startsWith("1 of 2,048"))
    }

    @Test
    fun aBundleThatWasDeletedMeanwhileIsASentence() {
        open("hello".toByteArray())
        assertTrue(app.bundles.delete(app.bundles.entry("smol") ?: error("gone")))
        controller.recreate()
        shadowOf(Looper.getMainLooper()).idle()
        assertEquals("There is no bundle named smol on this phone.", problem())
        assertFalse(activity.requireViewById<View>(R.id.document_open).isEnabled)
    }

    private fun picture(name: String, qualifiers: String = "", fontScale: Float = 1f) {
        RuntimeEnvironment.setQualifiers("+$qualifiers")
        RuntimeEnvironment.setFontScale(fontScale)
        app.getSharedPreferences("speeds", 0).edit().putFloat("smol", 210f).apply()
        app.engine.pause()
        open("The river rises in the hills to the north. ".repeat(140).toByteArray(), "The river.txt")
        tap(R.id.document_summarize)
        app.engine.step(4)
        waitUntil("progress") { texts(activity).any { it.startsWith("Reading: ") && "Reading: 0 " !in it } }
        screenshot(activity, name)
    }

    @Test
    fun pictureLight() = picture("document")

    @Test
    fun pictureDark() = picture("document-dark", "night")

    @Test
    fun pictureLandscape() = picture("document-landscape", "w914dp-h411dp-land")

    @Test
    fun pictureLargeFont() = picture("document-large-font", fontScale = 2f)
}
