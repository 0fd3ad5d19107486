package org.mlpexport.demo

import android.app.Activity
import android.app.AlertDialog
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.EditText
import android.widget.TextView
import org.junit.After
import org.junit.Before
import org.junit.runner.RunWith
import org.mlpexport.core.Conversation
import org.mlpexport.core.FakeEngine
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowDialog

/** What tests of the conversation screens share. */
@RunWith(RobolectricTestRunner::class)
@Config(application = ChatTestApplication::class, qualifiers = "w411dp-h914dp-420dpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
abstract class ChatScreenTest {
    protected val app get() = RuntimeEnvironment.getApplication() as ChatTestApplication
    protected val engine get() = app.engine
    private val controllers = mutableListOf<ActivityController<out Activity>>()

    @Before
    fun writeBundle() {
        app.writeBundle("demo")
    }

    @After
    fun finish() {
        engine.resume()
        app.models.stop()
        waitUntil("the model is idle") { !app.models.busy }
        controllers.forEach { if (!it.get().isDestroyed) it.close() }
    }

    protected fun open(conversation: String? = null): ActivityController<ChatActivity> {
        app.admit("demo")
        return openAsItIs(conversation)
    }

    /** [open] with a bundle whose files are unchecked and whose license was not accepted. */
    protected fun openAsItIs(conversation: String? = null): ActivityController<ChatActivity> {
        val intent = ChatActivity.intent(app, "demo", conversation)
        return Robolectric.buildActivity(ChatActivity::class.java, intent).also { controllers += it }.setup().visible()
    }

    protected fun <T : Activity> track(controller: ActivityController<T>) = controller.also { controllers += it }

    protected fun type(activity: Activity, text: String) = activity.findViewById<EditText>(R.id.input).setText(text)

    protected fun tapSend(activity: Activity) = activity.findViewById<View>(R.id.send).performClick()

    protected fun say(activity: Activity, text: String) {
        type(activity, text)
        tapSend(activity)
    }

    /** Sends [text] and waits for the end of its answer, whose pieces are [pieces] where some are given. */
    protected fun ask(activity: Activity, text: String, vararg pieces: String) {
        if (pieces.isNotEmpty()) engine.script(*pieces)
        say(activity, text)
        waitUntil("an answer to $text") { !app.models.busy }
        idle()
    }

    protected fun stored(): Conversation = app.conversations.list().single()

    /** Sends [text] and lets the paused engine go on until the first of its [pieces] is shown. */
    protected fun beginToAsk(activity: Activity, text: String, vararg pieces: String) {
        engine.script(*pieces)
        engine.pause()
        say(activity, text)
        waitUntil("the first text") {
            val shown = bubbles(activity).last() != text
            if (!shown) engine.step()
            Thread.sleep(5)
            shown
        }
    }

    /** Runs what is delayed or in the background, such as counts of tokens. */
    protected fun settle() {
        shadowOf(Looper.getMainLooper()).idleFor(java.time.Duration.ofSeconds(1))
        app.background.submit {}.get()
        app.counting.submit {}.get()
        idle()
    }

    /** The last message's [id], such as its button "again". */
    protected fun last(activity: Activity, id: Int): View {
        val column = activity.findViewById<ViewGroup>(R.id.messages).getChildAt(0) as ViewGroup
        return column.getChildAt(column.childCount - 1).requireViewById(id)
    }

    protected fun bannerButton(activity: Activity, text: Int): View {
        val actions = activity.findViewById<ViewGroup>(R.id.banner_actions)
        return (0 until actions.childCount).map(actions::getChildAt)
            .first { (it as TextView).text.toString() == activity.getString(text) }
    }

    protected fun bannerText(activity: Activity): String? =
        activity.findViewById<View>(R.id.banner).takeIf { it.visibility == View.VISIBLE }
            ?.findViewById<TextView>(R.id.banner_text)?.text?.toString()

    protected fun dialog(): AlertDialog = ShadowDialog.getLatestDialog() as AlertDialog

    protected fun generated() = engine.calls.filterIsInstance<FakeEngine.Call.Generate>()
}
