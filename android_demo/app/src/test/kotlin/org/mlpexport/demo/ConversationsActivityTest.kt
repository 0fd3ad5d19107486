package org.mlpexport.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.view.View
import android.view.ViewGroup
import android.widget.EditText
import android.widget.ListView
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.Answer
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.AnswerStatistics
import org.mlpexport.core.Conversation
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.fakes.RoboMenuItem
import org.robolectric.shadows.ShadowPopupMenu
import org.robolectric.shadows.ShadowToast

class ConversationsActivityTest : ChatScreenTest() {
    private fun store(question: String, answer: String): Conversation {
        val id = app.conversations.create("demo").id
        app.conversations.addUser(id, question)
        val message = app.conversations.startAnswer(id)
        val statistics = AnswerStatistics(1, 0, 1, 10, null, null, 0)
        app.conversations.endAnswer(id, message.id, Answer(answer, AnswerEnd.COMPLETE, statistics))
        Thread.sleep(2) // the order is that of milliseconds
        return requireNotNull(app.conversations.read(id))
    }

    private fun openList(): Activity {
        val intent = ConversationsActivity.intent(app)
        val activity = track(Robolectric.buildActivity(ConversationsActivity::class.java, intent)).setup().visible().get()
        settle()
        return activity
    }

    private fun titles(activity: Activity): List<String> {
        val adapter = activity.findViewById<ListView>(R.id.list).adapter
        return (0 until adapter.count).map { (adapter.getItem(it) as Conversation).title }
    }

    private fun search(activity: Activity, text: String) {
        activity.findViewById<EditText>(R.id.search).setText(text)
        settle()
    }

    private fun tapMenu(activity: Activity, item: Int) {
        activity.findViewById<ListView>(R.id.list).getChildAt(0).requireViewById<View>(R.id.more).performClick()
        shadowOf(ShadowPopupMenu.getLatestPopupMenu()).onMenuItemClickListener.onMenuItemClick(RoboMenuItem(item))
    }

    private fun three() {
        store("How do I make a good cup of coffee?", "Use fresh beans and good water, and grind them just before you brew.")
        store("Plan a weekend in Lisbon", "Start in Alfama, take tram 28, and have pastéis de nata in Belém.")
        store("Rewrite: the meeting is moved to Tuesday", "The meeting has been moved to Tuesday.")
    }

    @Test
    fun theNewestComesFirst() {
        three()
        val activity = openList()
        assertEquals(
            listOf("Rewrite: the meeting is moved to Tuesday", "Plan a weekend in Lisbon", "How do I make a good cup of coffee?"),
            titles(activity),
        )
        screenshot(activity, "conversations")
    }

    @Test
    @Config(qualifiers = "+night", fontScale = 2f)
    fun darkAndLarge() {
        three()
        val activity = openList()
        assertEquals(3, titles(activity).size)
        screenshot(activity, "conversations-dark-large-font")
    }

    @Test
    fun none() {
        val activity = openList()
        assertEquals(activity.getString(R.string.no_conversations), activity.findViewById<TextView>(R.id.empty_text).text.toString())
        assertEquals(View.VISIBLE, activity.findViewById<View>(R.id.empty).visibility)
        assertEquals("no bundle is known to begin with", View.GONE, activity.findViewById<View>(R.id.new_chat).visibility)
        screenshot(activity, "conversations-empty")
    }

    @Test
    fun searchLooksIntoMessages() {
        three()
        val activity = openList()
        search(activity, "ALFAMA")
        assertEquals(listOf("Plan a weekend in Lisbon"), titles(activity))
        search(activity, "nowhere")
        assertEquals(emptyList<String>(), titles(activity))
        assertTrue(texts(activity).toString(), "No conversation contains “nowhere”." in texts(activity))
        search(activity, "")
        assertEquals(3, titles(activity).size)
    }

    @Test
    fun aTapOpensTheConversation() {
        val stored = store("One", "1")
        val activity = openList()
        val list = activity.findViewById<ListView>(R.id.list)
        list.performItemClick(list.getChildAt(0), 0, 0)
        val started = shadowOf(activity).nextStartedActivity
        assertEquals(ChatActivity::class.java.name, started.component?.className)
        assertEquals(listOf("One", "1"), bubbles(open(stored.id).get()))
        assertEquals(stored.id, started.getStringExtra("conversation"))
    }

    @Test
    fun rename() {
        store("One", "1")
        val activity = openList()
        tapMenu(activity, R.id.rename)
        val field = dialog().window?.decorView?.let { findEdit(it) }
        assertEquals("One", field?.text.toString())
        field?.setText("  A better name ")
        dialog().getButton(AlertDialog.BUTTON_POSITIVE).performClick()
        settle()
        assertEquals(listOf("A better name"), titles(activity))
    }

    @Test
    fun deleteAsksFirst() {
        val stored = store("One", "1")
        app.windows[stored.id] = "x"
        val activity = openList()
        tapMenu(activity, R.id.delete)
        dialog().getButton(AlertDialog.BUTTON_NEGATIVE).performClick()
        settle()
        assertEquals(listOf("One"), titles(activity))
        tapMenu(activity, R.id.delete)
        dialog().getButton(AlertDialog.BUTTON_POSITIVE).performClick()
        settle()
        assertEquals(emptyList<String>(), titles(activity))
        assertNull(app.conversations.read(stored.id))
        assertNull(app.windows[stored.id])
    }

    @Test
    fun deletingAConversationThatIsAnsweredStopsIt() {
        val chat = open().get()
        beginToAsk(chat, "Letters", *Array(40) { " a" })
        app.chats.delete(stored().id)
        engine.resume()
        waitUntil("the stop") { !app.models.busy }
        assertEquals(emptyList<Conversation>(), app.conversations.list())
        assertNull(app.chats.storageProblem)
    }

    @Test
    fun shareGivesTheText() {
        store("One", "1")
        val activity = openList()
        tapMenu(activity, R.id.share)
        val chooser = shadowOf(activity).nextStartedActivity
        @Suppress("DEPRECATION") // the typed one is newer than minSdk
        val send = chooser.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)
        assertEquals("One\n\nYou:\nOne\n\nModel:\n1\n", send?.getStringExtra(Intent.EXTRA_TEXT))
        assertEquals("text/plain", send?.type)
    }

    @Test
    fun whatIsTooLongForABinderTransactionIsNotShared() {
        store("One", "x".repeat(300_000))
        val activity = openList()
        tapMenu(activity, R.id.share)
        assertNull(shadowOf(activity).nextStartedActivity)
        assertEquals(activity.getString(R.string.too_long_to_share), ShadowToast.getTextOfLatestToast())
    }

    @Test
    fun aNewChatIsWithTheNewestBundle() {
        store("One", "1")
        val activity = openList()
        activity.findViewById<View>(R.id.new_chat).performClick()
        val started = shadowOf(activity).nextStartedActivity
        assertEquals("demo", started.getStringExtra("bundle"))
        assertNull(started.getStringExtra("conversation"))
    }

    private fun findEdit(view: View): EditText? = when (view) {
        is EditText -> view
        is ViewGroup -> (0 until view.childCount).firstNotNullOfOrNull { findEdit(view.getChildAt(it)) }
        else -> null
    }
}
