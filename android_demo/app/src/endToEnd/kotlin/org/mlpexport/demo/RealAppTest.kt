package org.mlpexport.demo

import android.app.Activity
import android.content.pm.ActivityInfo
import android.content.res.Configuration
import android.os.Looper
import android.view.View
import android.widget.EditText
import android.widget.TextView
import com.google.gson.JsonParser
import java.io.File
import java.lang.management.ManagementFactory
import java.nio.file.Files
import java.util.concurrent.TimeUnit
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeNotNull
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.ConversationStore
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** The real Activities on the real Android library and a real bundle. What the host answered is in the file `answers`. */
@RunWith(RobolectricTestRunner::class)
@Config(application = RealApplication::class, sdk = [35], qualifiers = "w411dp-h914dp-420dpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class RealAppTest {
    private val app get() = RuntimeEnvironment.getApplication() as RealApplication
    private val controllers = mutableListOf<ActivityController<out Activity>>()

    @Before
    fun copyBundle() {
        assertNotNull(app.bundle)
    }

    @After
    fun finish() {
        app.models.stop()
        waitUntil("the model is idle", SECONDS) { !app.models.busy }
        app.models.unload()
        controllers.forEach { if (!it.get().isDestroyed) it.close() }
    }

    @Test
    fun `the list says that this runtime runs the bundle`() {
        val controller = Robolectric.buildActivity(BundlesActivity::class.java).also { controllers += it }.setup().visible()
        val runs = app.getString(R.string.bundles_runs)
        waitUntil("the bundle in the list", SECONDS) { texts(controller.get()).contains(runs) }
        val device = app.device()
        assertTrue("$device", "xnnpack" in device.backends)
        assertTrue("$device", device.runtimes.getValue("executorch").startsWith("1.3"))
    }

    @Test
    fun `an answer is the host's, and the next turn adds to it`() {
        val activity = open().get()
        val (question, expected) = hostAnswers().entries.first()
        say(activity, question)
        waitUntil("an answer", SECONDS) { !app.models.busy }
        idle()
        assertEquals(listOf(question, expected), bubbles(activity))
        say(activity, "And of France?")
        waitUntil("a second answer", SECONDS) { !app.models.busy }
        idle()
        val messages = stored().messages
        assertEquals(4, messages.size)
        assertTrue(messages[3].text, "Paris" in messages[3].text)
        val first = checkNotNull(messages[1].statistics)
        val second = checkNotNull(messages[3].statistics)
        assertEquals(first.promptTokens + first.answerTokens, second.cachedTokens)
        shadowOf(Looper.getMainLooper()).idleFor(java.time.Duration.ofSeconds(1))
        app.background.submit {}.get()
        app.counting.submit {}.get()
        screenshot(activity, "android-real-answer")
    }

    @Test
    fun `an answer streams in until stop ends it, and the conversation goes on`() {
        val activity = open().get()
        say(activity, LONG)
        val seen = linkedSetOf<String>()
        waitUntil("words, one after the other", SECONDS) {
            seen += live(activity)
            seen.size > 3
        }
        assertTrue("$seen", seen.zipWithNext().all { (before, after) -> after.startsWith(before) })
        afterDoubleTap()
        activity.findViewById<View>(R.id.send).performClick()
        waitUntil("the end", SECONDS) { !app.models.busy }
        idle()
        assertEquals(AnswerEnd.STOPPED, stored().messages[1].end)
        val (question, _) = hostAnswers().entries.first()
        say(activity, question)
        waitUntil("an answer", SECONDS) { !app.models.busy }
        assertTrue(stored().messages[3].text, "Tokyo" in stored().messages[3].text)
    }

    @Test
    fun `a rotation in mid-answer loses nothing`() {
        val controller = open()
        val (question, expected) = hostAnswers().entries.last()
        say(controller.get(), question)
        waitUntil("the first words", SECONDS) { live(controller.get()).isNotEmpty() }
        val landscape = Configuration(app.resources.configuration)
        landscape.orientation = Configuration.ORIENTATION_LANDSCAPE
        controller.get().requestedOrientation = ActivityInfo.SCREEN_ORIENTATION_LANDSCAPE
        controller.configurationChange(landscape)
        waitUntil("the answer", SECONDS) { !app.models.busy }
        idle()
        assertEquals(listOf(question, expected), bubbles(controller.get()))
        assertEquals(1, app.conversations.list().size)
    }

    @Test
    fun `a program that was damaged since it was checked is told, and the message stays`() {
        val activity = open().get()
        app.bundle.pte.writeText("no program")
        say(activity, "Hello")
        waitUntil("the failure", SECONDS) { !app.models.busy }
        idle()
        val shown = texts(activity).joinToString("\n")
        assertTrue(shown, "model.pte" in shown || "damaged" in shown)
        assertEquals("Hello", stored().messages[0].text)
    }

    @Test
    fun `a program that is gone is told`() {
        val activity = open().get()
        app.bundle.pte.delete()
        say(activity, "Hello")
        waitUntil("the failure", SECONDS) { !app.models.busy }
        idle()
        val banner = activity.findViewById<TextView>(R.id.banner_text).text.toString()
        assertTrue(banner, banner.isNotEmpty())
        assertEquals(AnswerEnd.FAILED, stored().messages[1].end)
    }

    @Test
    fun `a process that is killed in mid-answer leaves the message and what was answered`() {
        val store = Files.createTempDirectory("store").toFile()
        val java = listOf(File(System.getProperty("java.home"), "bin/java").path)
        val arguments = ManagementFactory.getRuntimeMXBean().inputArguments + "-D${RealApplication.STORE}=$store"
        val classes = listOf("-cp", System.getProperty("java.class.path"))
        val command = java + arguments + classes + listOf("org.junit.runner.JUnitCore", ToBeKilled::class.java.name)
        val process = ProcessBuilder(command).redirectErrorStream(true)
            .redirectOutput(File(store, "../${store.name}.log")).start()
        try {
            val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(180)
            while (partial(store).isEmpty()) {
                check(process.isAlive && System.nanoTime() < end) { File(store, "../${store.name}.log").readText() }
                Thread.sleep(20)
            }
        } finally {
            process.destroyForcibly().waitFor() // SIGKILL
        }
        System.setProperty(RealApplication.STORE, store.path)
        try {
            val left = stored()
            assertEquals(LONG, left.messages[0].text)
            assertEquals(AnswerEnd.INTERRUPTED, left.messages[1].end)
            val activity = open(left.id).get()
            assertTrue(texts(activity).toString(), activity.getString(R.string.end_interrupted) in texts(activity).joinToString())
        } finally {
            System.clearProperty(RealApplication.STORE)
            store.deleteRecursively()
        }
    }

    private fun partial(store: File) =
        ConversationStore(store).list().singleOrNull()?.messages?.getOrNull(1)?.text.orEmpty()

    private fun open(conversation: String? = null): ActivityController<ChatActivity> {
        app.admit(RealApplication.BUNDLE)
        val intent = ChatActivity.intent(app, RealApplication.BUNDLE, conversation)
        return Robolectric.buildActivity(ChatActivity::class.java, intent).also { controllers += it }.setup().visible()
    }

    private fun say(activity: Activity, text: String) {
        activity.findViewById<EditText>(R.id.input).setText(text)
        activity.findViewById<View>(R.id.send).performClick()
    }

    private fun live(activity: Activity) = bubbles(activity).getOrNull(1).orEmpty()

    private fun stored() = app.conversations.list().single()
}

/** The process that [RealAppTest] kills: it asks, and answers until then. */
@RunWith(RobolectricTestRunner::class)
@Config(application = RealApplication::class, sdk = [35])
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ToBeKilled {
    @Test
    fun answers() {
        assumeNotNull(System.getProperty(RealApplication.STORE))
        val app = RuntimeEnvironment.getApplication() as RealApplication
        val id = app.conversations.create(RealApplication.BUNDLE, null).id
        app.chats.send(id, app.bundle, LONG)
        waitUntil("nothing: to be killed", SECONDS) { false }
    }
}

private const val SECONDS = 120L
private const val LONG = "Write a very long story about a river, a mill and a miller."

internal fun hostAnswers(): Map<String, String> =
    JsonParser.parseString(File(System.getProperty("answers")).readText()).asJsonObject.entrySet()
        .associate { it.key to it.value.asString }
