package org.mlpexport.demo

import android.app.Activity
import org.junit.Assert.assertTrue
import org.junit.Test
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

    private fun stream(activity: Activity) =
        beginToAsk(activity, "How long does it keep once it is ground?", "It depends on how ", "coarse it is.", " More", "<|im_end|>")

    @Test
    fun empty() {
        val activity = open().get()
        settle()
        screenshot(activity, "chat-empty")
        assertTrue(texts(activity).toString(), activity.getString(R.string.chat_empty_title) in texts(activity))
    }

    @Test
    fun conversation() = screenshot(talk(), "chat")

    @Test
    fun streaming() {
        val activity = talk()
        stream(activity)
        screenshot(activity, "chat-streaming")
    }

    @Test
    @Config(qualifiers = "+night")
    fun dark() = screenshot(talk(), "chat-dark")

    @Test
    @Config(qualifiers = "+night")
    fun darkEmpty() = screenshot(open().get(), "chat-empty-dark")

    @Test
    @Config(fontScale = 2f)
    fun largeFont() = screenshot(talk(), "chat-large-font")

    @Test
    @Config(fontScale = 2f)
    fun largeFontEmpty() = screenshot(open().get(), "chat-empty-large-font")

    @Test
    @Config(qualifiers = "w914dp-h411dp-land-420dpi")
    fun landscape() = screenshot(talk(), "chat-landscape")

    @Test
    @Config(qualifiers = "+de")
    fun german() = screenshot(talk(), "chat-german")
}
