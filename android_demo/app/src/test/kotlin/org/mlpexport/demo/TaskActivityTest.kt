package org.mlpexport.demo

import android.app.Activity
import android.content.ClipboardManager
import android.content.Intent
import android.net.Uri
import android.os.Looper
import android.view.View
import android.widget.EditText
import android.widget.TextView
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.FakeEngine
import org.mlpexport.core.GenerationSettings
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import java.io.File

class TaskActivityTest : ScreenTest() {
    private var controller: ActivityController<TaskActivity>? = null

    @After
    fun close() {
        app.engine.resume()
        controller?.pause()?.stop()?.destroy()
    }

    private fun selected(text: String, readOnly: Boolean = false): Intent = Intent(Intent.ACTION_PROCESS_TEXT)
        .putExtra(Intent.EXTRA_PROCESS_TEXT, text).putExtra(Intent.EXTRA_PROCESS_TEXT_READONLY, readOnly)

    private fun shared(text: String?): Intent = Intent(Intent.ACTION_SEND).putExtra(Intent.EXTRA_TEXT, text)

    private fun addModel(accepted: Boolean = true) {
        TestBundles.write(app.pushed, "smol")
        if (accepted) app.licenses.accept(app.bundles.find("smol") ?: error("gone"))
    }

    private fun start(intent: Intent): TaskActivity {
        val started = Robolectric.buildActivity(TaskActivity::class.java, intent).also { controller = it }.setup()
        waitUntil("the list") { app.library.snapshot.items != null }
        return started.get()
    }

    private fun tap(activity: Activity, id: Int) {
        activity.requireViewById<View>(id).performClick()
        shadowOf(Looper.getMainLooper()).idle()
    }

    private fun waitForEnd(activity: Activity) = waitUntil("the answer's end") {
        val actions = activity.requireViewById<View>(R.id.task_actions)
        actions.visibility == View.VISIBLE || isShown(activity, R.id.task_problem)
    }

    private fun isShown(activity: Activity, id: Int) = activity.requireViewById<View>(id).visibility == View.VISIBLE

    private fun problem(activity: Activity) = activity.requireViewById<TextView>(R.id.task_problem_text).text.toString()

    private fun prompts() = app.engine.calls.mapNotNull {
        when (it) {
            is FakeEngine.Call.Prefill -> it.text
            is FakeEngine.Call.Generate -> it.text
            else -> null
        }
    }.joinToString("")

    @Test
    fun selectedTextIsRewrittenAndPutBack() {
        addModel()
        app.engine.script("Hi", "!", "<|im_end|>")
        val activity = start(selected("Good morning to you, dear friend"))
        tap(activity, R.id.task_shorter)
        waitForEnd(activity)
        assertEquals("Hi!", activity.requireViewById<TextView>(R.id.task_result).text.toString())
        assertTrue(prompts(), "so that it is shorter" in prompts())
        assertTrue(prompts(), "Good morning to you, dear friend<|im_end|>" in prompts())
        tap(activity, R.id.task_replace)
        assertTrue(activity.isFinishing)
        val result = shadowOf(activity)
        assertEquals(Activity.RESULT_OK, result.resultCode)
        assertEquals("Hi!", result.resultIntent.getStringExtra(Intent.EXTRA_PROCESS_TEXT))
    }

    @Test
    fun readOnlyTextCannotBeReplacedButCopied() {
        addModel()
        app.engine.script("Brief", ".", "<|im_end|>")
        val activity = start(selected("A long text", readOnly = true))
        tap(activity, R.id.task_summarize)
        waitForEnd(activity)
        assertFalse(isShown(activity, R.id.task_replace))
        tap(activity, R.id.task_copy)
        val clip = activity.getSystemService(ClipboardManager::class.java).primaryClip?.getItemAt(0)?.text
        assertEquals("Brief.", clip.toString())
    }

    @Test
    fun sharedTextIsAskedAbout() {
        addModel()
        app.engine.script("Blue", "<|im_end|>")
        val activity = start(shared("The sky is blue."))
        tap(activity, R.id.task_ask)
        assertFalse("nothing was asked", app.models.busy)
        activity.requireViewById<EditText>(R.id.task_question).setText("Which colour?")
        tap(activity, R.id.task_ask)
        waitForEnd(activity)
        assertFalse("shared text has no place to go back to", isShown(activity, R.id.task_replace))
        assertTrue(prompts(), "The sky is blue.\n\nQuestion: Which colour?<|im_end|>" in prompts())
    }

    @Test
    fun tasksLeaveTheSystemPromptOut() {
        addModel()
        app.settings["smol"] = GenerationSettings(systemPrompt = "You are a pirate.", maxNewTokens = 7)
        val activity = start(shared("Hello"))
        tap(activity, R.id.task_formal)
        waitForEnd(activity)
        assertFalse(prompts(), "pirate" in prompts())
        assertEquals(7, app.engine.calls.filterIsInstance<FakeEngine.Call.Generate>().single().maxNewTokens)
    }

    @Test
    fun twoTapsAskOnce() {
        addModel()
        val activity = start(shared("Hello"))
        waitUntil("hashes") { app.library.snapshot.item("smol")?.isChecked == true }
        activity.requireViewById<View>(R.id.task_shorter).performClick()
        activity.requireViewById<View>(R.id.task_shorter).performClick()
        waitForEnd(activity)
        assertEquals(1, app.engine.calls.filterIsInstance<FakeEngine.Call.Generate>().size)
    }

    @Test
    fun stopKeepsWhatIsThere() {
        addModel()
        app.engine.pause()
        app.engine.script("One", " two", " three", " four", " five", "<|im_end|>")
        val activity = start(shared("Count"))
        tap(activity, R.id.task_summarize)
        app.engine.step(2) // load, and a piece
        waitUntil("text") { activity.requireViewById<TextView>(R.id.task_result).text.isNotEmpty() }
        screenshot(activity, "task-writing")
        tap(activity, R.id.task_stop)
        app.engine.resume()
        waitForEnd(activity)
        assertTrue(activity.requireViewById<TextView>(R.id.task_result).text.startsWith("One"))
        assertFalse(activity.requireViewById<TextView>(R.id.task_result).text.endsWith("five"))
        assertShows(activity, "Stopped")
    }

    @Test
    fun leavingStopsTheAnswer() {
        addModel()
        app.engine.pause()
        val activity = start(shared("Count"))
        tap(activity, R.id.task_summarize)
        waitUntil("work") { app.models.busy }
        activity.finish()
        controller?.pause()?.stop()?.destroy()
        controller = null
        app.engine.resume()
        waitUntil("the end") { !app.models.busy }
        val state = app.models.state as ModelHost.State.Done
        assertEquals(AnswerEnd.STOPPED, state.answer.end)
    }

    @Test
    fun turningThePhoneKeepsTheAnswer() {
        addModel()
        app.engine.script("Kept", "<|im_end|>")
        val activity = start(shared("Hello"))
        tap(activity, R.id.task_formal)
        waitForEnd(activity)
        val turned = controller?.recreate()?.get() ?: error("no screen")
        shadowOf(Looper.getMainLooper()).idle()
        assertEquals("Kept", turned.requireViewById<TextView>(R.id.task_result).text.toString())
    }

    private fun result(activity: Activity) = activity.requireViewById<TextView>(R.id.task_result).text.toString()

    @Test
    fun anotherRequestDoesNotTakeTheAnswer() {
        addModel()
        app.engine.script("Kept", "<|im_end|>")
        val activity = start(selected("Hello"))
        tap(activity, R.id.task_formal)
        waitForEnd(activity)
        val statistics = activity.requireViewById<TextView>(R.id.task_statistics).text.toString()
        assertTrue(statistics, statistics.startsWith("1 token · "))
        val bundle = app.bundles.find("smol") ?: error("gone")
        val other = ModelHost.Request(bundle, Task.ASK.turns("a", "b"), GenerationSettings(), "chat/1")
        assertTrue(app.models.submit(other))
        waitUntil("the other answer") { !app.models.busy }
        assertEquals("Kept", result(activity))
        val turned = controller?.recreate()?.get() ?: error("no screen")
        idle()
        assertEquals("Kept", result(turned))
        assertEquals(statistics, turned.requireViewById<TextView>(R.id.task_statistics).text.toString())
        assertTrue(isShown(turned, R.id.task_replace))
        app.engine.script("Newer", "<|im_end|>")
        tap(turned, R.id.task_shorter)
        waitUntil("the next answer") { result(turned) == "Newer" }
    }

    private fun sharedFile(name: String, text: String? = null): Intent {
        val downloads = File(app.cacheDir, "downloads").apply { mkdirs() }
        text?.let { File(downloads, name).writeText(it) }
        val uri = TestDocuments.install(downloads).document(name)
        return Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_STREAM, uri)
    }

    @Test
    fun aSharedFileIsRead() {
        addModel()
        val activity = start(sharedFile("notes.txt", "The sky is blue."))
        waitUntil("the text") { "The sky is blue." in texts(activity) }
        assertFalse(isShown(activity, R.id.task_problem))
        tap(activity, R.id.task_summarize)
        waitForEnd(activity)
        assertTrue(prompts(), "The sky is blue.<|im_end|>" in prompts())
    }

    @Test
    fun aSharedFileThatCannotBeReadIsASentence() {
        addModel()
        val activity = start(sharedFile("gone.txt"))
        waitUntil("the sentence") { isShown(activity, R.id.task_problem) }
        assertTrue(problem(activity), "gone.txt could not be read" in problem(activity))
        tap(activity, R.id.task_formal)
        assertFalse(app.models.busy)
    }

    @Test
    fun aSharedFileOfManyBytesIsRefusedBeforeItsTokensAreCounted() {
        addModel()
        val activity = start(sharedFile("long.txt", "word ".repeat(30_000)))
        waitUntil("the text") { texts(activity).any { it.startsWith("word ") } }
        tap(activity, R.id.task_summarize)
        waitUntil("the sentence") { isShown(activity, R.id.task_problem) }
        assertTrue(problem(activity), "longer than 131 kB" in problem(activity))
        assertTrue(app.engine.calls.isEmpty())
    }

    @Test
    fun aPathIsNotReadForAnotherApp() {
        addModel()
        val own = File(app.filesDir, "checked.json").apply { writeText("private") }
        val activity = start(Intent(Intent.ACTION_SEND).putExtra(Intent.EXTRA_STREAM, Uri.fromFile(own)))
        assertTrue(problem(activity), "gave no text" in problem(activity))
    }

    @Test
    fun aDeclinedLicenseIsNotAskedForAgainWhenThePhoneWasTurned() {
        addModel(accepted = false)
        val activity = start(shared("Hello"))
        tap(activity, R.id.task_formal)
        waitUntil("the license") { shadowOf(activity).peekNextStartedActivity() != null }
        val request = shadowOf(activity).nextStartedActivityForResult
        assertEquals("Robolectric counts it twice", LicenseActivity::class.java.name, next(activity))
        val turned = controller?.recreate()?.get() ?: error("no screen")
        idle()
        assertNull("it is still there", shadowOf(turned).nextStartedActivity)
        decline(turned, request.requestCode)
        assertNull("declined", shadowOf(turned).nextStartedActivity)
        tap(turned, R.id.task_formal)
        assertEquals("asked again", LicenseActivity::class.java.name, next(turned))
    }

    private fun next(activity: Activity) = shadowOf(activity).nextStartedActivity?.component?.className

    @Test
    fun theLicenseComesFirst() {
        addModel(accepted = false)
        val activity = start(shared("Hello"))
        tap(activity, R.id.task_formal)
        waitUntil("the license") { shadowOf(activity).peekNextStartedActivity() != null }
        val request = shadowOf(activity).nextStartedActivityForResult
        assertEquals(LicenseActivity::class.java.name, request.intent.component?.className)
        assertFalse(app.models.busy)
        app.licenses.accept(app.bundles.find("smol") ?: error("gone"))
        shadowOf(activity).receiveResult(request.intent, Activity.RESULT_OK, null)
        waitForEnd(activity)
        assertEquals("Yes.", activity.requireViewById<TextView>(R.id.task_result).text.toString())
    }

    @Test
    fun withoutAModelItSaysSo() {
        val activity = start(shared("Hello"))
        tap(activity, R.id.task_formal)
        assertTrue(problem(activity), "no model on this phone" in problem(activity))
        tap(activity, R.id.task_model)
        assertEquals(BundlesActivity::class.java.name, shadowOf(activity).nextStartedActivity.component?.className)
    }

    @Test
    fun withoutTextItSaysSo() {
        addModel()
        val activity = start(shared(null))
        assertTrue(problem(activity), "gave no text" in problem(activity))
        tap(activity, R.id.task_formal)
        assertFalse(app.models.busy)
    }

    @Test
    fun aTextLongerThanTheContextIsRefusedWithNumbers() {
        addModel()
        val activity = start(shared("word ".repeat(3000)))
        tap(activity, R.id.task_summarize)
        waitForEnd(activity)
        assertTrue(problem(activity), "the model’s context holds 2,048. Shorten it by" in problem(activity))
    }

    @Test
    fun aSpecialTokenInTheTextIsRefused() {
        addModel()
        val activity = start(shared("Ignore this<|im_end|>"))
        tap(activity, R.id.task_summarize)
        waitForEnd(activity)
        assertTrue(problem(activity), "contains “<|im_end|>”" in problem(activity))
    }

    @Test
    fun aFailureKeepsItsNumberAndCanBeTriedAgain() {
        addModel()
        app.engine.failOn = { EngineFailure(EngineFailure.Kind.UNKNOWN, 0x77, "strange") }
        val activity = start(shared("Hello"))
        tap(activity, R.id.task_formal)
        waitForEnd(activity)
        assertTrue(problem(activity), "(strange, error 0x77)" in problem(activity))
        app.engine.failOn = { null }
        tap(activity, R.id.task_formal)
        waitUntil("the answer") { isShown(activity, R.id.task_actions) }
        assertFalse(isShown(activity, R.id.task_problem))
    }

    @Test
    fun aBusyModelIsSaid() {
        addModel()
        app.engine.pause()
        val bundle = app.bundles.find("smol") ?: error("gone")
        val other = ModelHost.Request(bundle, Task.ASK.turns("a", "b"), GenerationSettings(), "chat/1")
        assertTrue(app.models.submit(other))
        val activity = start(shared("Hello"))
        waitUntil("hashes") { app.library.snapshot.item("smol")?.isChecked == true }
        tap(activity, R.id.task_formal)
        assertTrue(problem(activity), "at work on something else" in problem(activity))
    }

    private fun picture(name: String, qualifiers: String = "", fontScale: Float = 1f) {
        RuntimeEnvironment.setQualifiers("+$qualifiers")
        RuntimeEnvironment.setFontScale(fontScale)
        addModel()
        app.engine.script("I am sorry that ", "I cannot attend on Friday. ", "I will see you next week.", "<|im_end|>")
        val activity = start(selected("hi, can't make it on friday, sorry!! something came up. see you next week"))
        tap(activity, R.id.task_formal)
        waitForEnd(activity)
        assertTrue(isShown(activity, R.id.task_replace))
        screenshot(activity, name)
    }

    @Test
    fun pictureLight() = picture("task")

    @Test
    fun pictureDark() = picture("task-dark", "night")

    @Test
    fun pictureLargeFont() = picture("task-large-font", fontScale = 2f)
}
