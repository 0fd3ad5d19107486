package org.mlpexport.demo

import android.app.Activity
import android.graphics.Rect
import android.view.View
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.FakeEngine
import org.robolectric.annotation.Config

/** Pictures of the conversation screens, for people to look at; what they show is asserted in the other tests. */
class ChatPicturesTest : ChatScreenTest() {
    private fun talk(): Activity {
        app.writeBundle("demo", context = 2048)
        app.engine = FakeEngine(context = 2048)
        val activity = open().get()
        ask(
            activity,
            "How do I make a good cup of coffee?",
            "Use **fresh beans** and good water:\n\n", "- grind them just before you brew\n", "- take 60 g of coffee ",
            "for a liter\n- use water of about 94 °C\n\n", "Then let it steep for *four minutes*.", "<|im_end|>",
        )
        ask(activity, "And if I have only a kettle?", "A kettle is enough. Boil the water, wait half a minute, ",
            "and pour it over the coffee in a simple filter or a French press.", "<|im_end|>")
        settle()
        return activity
    }

    private fun stream(activity: Activity) {
        val pieces = arrayOf("It depends on how ", "coarse it is.", " More", "<|im_end|>")
        beginToAsk(activity, "How long does it keep once it is ground?", *pieces)
    }

    /** Draws the screen, and holds that there is room to read and to write on it. */
    private fun draw(activity: Activity, name: String) {
        screenshot(activity, name)
        val density = activity.resources.displayMetrics.density
        val window = Rect(0, 0, activity.window.decorView.width, activity.window.decorView.height)
        for (id in listOf(R.id.send, R.id.input, R.id.context)) {
            val place = Rect()
            assertTrue(activity.findViewById<View>(id).getGlobalVisibleRect(place))
            assertTrue("$place in $window", window.contains(place))
        }
        val room = activity.findViewById<View>(R.id.messages).height / density
        assertTrue("$room dp for messages", room >= 120)
    }

    @Test
    fun empty() {
        val activity = open().get()
        settle()
        draw(activity, "chat-empty")
        assertTrue(texts(activity).toString(), activity.getString(R.string.chat_empty_title) in texts(activity))
    }

    @Test
    fun conversation() = draw(talk(), "chat")

    @Test
    fun streaming() {
        val activity = talk()
        stream(activity)
        draw(activity, "chat-streaming")
    }

    @Test
    @Config(qualifiers = "+night")
    fun dark() = draw(talk(), "chat-dark")

    @Test
    @Config(qualifiers = "+night")
    fun darkEmpty() = draw(open().get(), "chat-empty-dark")

    @Test
    @Config(fontScale = 2f)
    fun largeFont() = draw(talk(), "chat-large-font")

    @Test
    @Config(fontScale = 2f)
    fun largeFontEmpty() = draw(open().get(), "chat-empty-large-font")

    @Test
    @Config(qualifiers = "w914dp-h411dp-land-420dpi")
    fun landscape() = draw(talk(), "chat-landscape")

    @Test
    @Config(qualifiers = "w411dp-h430dp-420dpi")
    fun splitScreen() = draw(talk(), "chat-split-screen")

    @Test
    @Config(qualifiers = "+de")
    fun german() {
        val activity = talk()
        draw(activity, "chat-german")
        assertTrue(texts(activity).toString(), texts(activity).any { it.endsWith("von 2.048 Token frei") })
    }

    @Test
    fun fullContext() {
        val activity = open().get()
        ask(activity, "Tell me about the Alps", "They are ", "eight countries wide.", "<|im_end|>")
        ask(activity, "Write down all you know of them", *Array(300) { " rock" })
        settle()
        draw(activity, "chat-full")
        assertTrue(bannerText(activity), bannerText(activity).orEmpty().startsWith("The context of 128 tokens is full"))
    }

    @Test
    fun interrupted() {
        val id = app.conversations.create("demo").id
        app.conversations.addUser(id, "Tell me a story")
        val message = app.conversations.startAnswer(id)
        app.conversations.updateAnswer(id, message.id, "Once upon a time there was a phone that")
        val activity = open(id).get()
        settle()
        draw(activity, "chat-interrupted")
        assertTrue(activity.getString(R.string.end_interrupted) in texts(activity))
    }

    @Test
    fun failed() {
        val activity = open().get()
        engine.failOn = {
            val failure = EngineFailure(EngineFailure.Kind.NOT_A_PROGRAM, 0x23, "Model runner was not created")
            failure.takeIf { _ -> it == FakeEngine.Call.Load }
        }
        ask(activity, "Hello")
        settle()
        draw(activity, "chat-failed")
        assertTrue(activity.getString(R.string.end_failed) in texts(activity))
    }
}
