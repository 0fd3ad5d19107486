package org.mlpexport.demo

import android.Manifest.permission.POST_NOTIFICATIONS
import android.app.Activity
import android.content.ClipboardManager
import android.content.Intent
import android.graphics.Insets
import android.net.Uri
import android.view.KeyEvent
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.EditText
import android.widget.ImageButton
import android.widget.TextView
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.Bundle as ModelBundle
import org.mlpexport.core.ConversationStore
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.FakeEngine.Call
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.Role
import org.mlpexport.core.TokenCount
import org.mlpexport.core.Turn
import org.mlpexport.core.deviceFit
import org.mlpexport.core.usedTokens
import org.robolectric.Shadows.shadowOf
import org.robolectric.fakes.RoboMenuItem
import org.robolectric.shadows.ShadowToast
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.concurrent.CountDownLatch

class ChatActivityTest : ChatScreenTest() {
    @Test
    fun anAnswerStreamsAndIsStored() {
        val activity = open().get()
        engine.script("The sky", " is", " blue", ".", "<|im_end|>")
        engine.pause()
        say(activity, "  What colour is the sky?  ")
        assertEquals("", activity.findViewById<EditText>(R.id.input).text.toString())
        val steps = mutableListOf<String>()
        repeat(8) {
            engine.step()
            Thread.sleep(20)
            idle()
            steps += bubbles(activity).getOrElse(1) { "" }
        }
        waitUntil("the end") { !app.models.busy }
        idle()
        assertEquals(listOf("What colour is the sky?", "The sky is blue."), bubbles(activity))
        assertTrue("seen in steps: $steps", steps.toSet().size >= 4)
        val messages = stored().messages
        assertEquals(listOf(Role.USER, Role.ASSISTANT), messages.map { it.role })
        assertEquals("The sky is blue.", messages[1].text)
        assertEquals(AnswerEnd.COMPLETE, messages[1].end)
        assertEquals("What colour is the sky?", activity.actionBar?.title)
    }

    @Test
    fun onlyTheNewTurnIsPrefilled() {
        val activity = open().get()
        ask(activity, "One", "Two", "<|im_end|>")
        ask(activity, "Three", "Four", "<|im_end|>")
        val fed = engine.calls.mapNotNull { (it as? Call.Prefill)?.text ?: (it as? Call.Generate)?.text }
        assertEquals(1, fed.count { "One" in it })
        assertFalse("no answer is fed again: $fed", fed.any { "Two" in it })
        assertEquals(listOf("One", "Two", "Three", "Four"), bubbles(activity))
        assertEquals(1, app.made.size)
    }

    @Test
    fun stopKeepsWhatThereIs() {
        val activity = open().get()
        beginToAsk(activity, "Letters", *Array(40) { " a" })
        val button = activity.findViewById<ImageButton>(R.id.send)
        assertEquals("Stop", button.contentDescription)
        afterDoubleTap()
        tapSend(activity)
        engine.resume()
        waitUntil("the stop") { !app.models.busy }
        idle()
        assertEquals(AnswerEnd.STOPPED, stored().messages[1].end)
        assertTrue(stored().messages[1].text, stored().messages[1].text.length in 2..78)
        assertTrue(texts(activity).toString(), "Stopped" in texts(activity))
        assertEquals("Send", button.contentDescription)
    }

    @Test
    fun stopWhileTheModelLoadsAnswersNothing() {
        val activity = open().get()
        engine.pause()
        say(activity, "Hello")
        waitUntil("the load") { engine.calls.contains(Call.Load) }
        afterDoubleTap()
        tapSend(activity)
        engine.resume()
        waitUntil("the stop") { !app.models.busy }
        assertEquals(AnswerEnd.STOPPED, stored().messages[1].end)
        assertEquals(emptyList<Call>(), generated())
    }

    @Test
    fun aDoubleTapSendsOnce() {
        val activity = open().get()
        engine.pause()
        type(activity, "Hello")
        repeat(2) { tapSend(activity) }
        type(activity, "Hello")
        activity.onAgain() // what a second finger may reach
        assertEquals(listOf("Hello", ""), stored().messages.map { it.text })
        engine.resume()
        waitUntil("the end") { !app.models.busy }
        assertEquals(1, generated().size)
        assertEquals(AnswerEnd.COMPLETE to "Yes.", stored().messages[1].let { it.end to it.text })
    }

    @Test
    fun anEmptyMessageIsNotSent() {
        val activity = open().get()
        say(activity, " \n ")
        assertEquals(emptyList<Any>(), app.conversations.list())
        assertFalse(app.models.busy)
    }

    @Test
    fun answerAgainReplacesTheAnswerAndVariesIt() {
        val activity = open().get()
        ask(activity, "Name a fruit", "Apple", "<|im_end|>")
        engine.script("Pear", "<|im_end|>")
        last(activity, R.id.again).performClick()
        waitUntil("the end") { !app.models.busy }
        idle()
        assertEquals(listOf("Name a fruit", "Pear"), bubbles(activity))
        assertEquals(listOf("Name a fruit", "Pear"), stored().messages.map { it.text })
        assertEquals(0f, generated()[0].temperature)
        assertEquals(0.7f, generated()[1].temperature)
    }

    @Test
    fun answerAgainKeepsATemperatureThatIsSet() {
        app.settings["demo"] = GenerationSettings(temperature = 0.3f)
        val activity = open().get()
        ask(activity, "Name a fruit", "Apple", "<|im_end|>")
        last(activity, R.id.again).performClick()
        waitUntil("the end") { !app.models.busy }
        assertEquals(listOf(0.3f, 0.3f), generated().map { it.temperature })
    }

    @Test
    fun aMessageIsCopied() {
        val activity = open().get()
        ask(activity, "Hi", "Use **this**", "<|im_end|>")
        last(activity, R.id.copy).performClick()
        val clip = activity.getSystemService(ClipboardManager::class.java).primaryClip
        assertEquals("Use **this**", clip?.getItemAt(0)?.text.toString())
        assertEquals("Use this", bubbles(activity)[1])
    }

    @Test
    fun anEditedMessageReplacesWhatFollowed() {
        val activity = open().get()
        ask(activity, "One", "1", "<|im_end|>")
        ask(activity, "Two", "2", "<|im_end|>")
        activity.onEdit(stored().messages[0])
        assertEquals("One", activity.findViewById<EditText>(R.id.input).text.toString())
        assertEquals(activity.getString(R.string.editing), bannerText(activity))
        ask(activity, "Uno", "uno", "<|im_end|>")
        assertEquals(listOf("Uno", "uno"), bubbles(activity))
        assertEquals(listOf("Uno", "uno"), stored().messages.map { it.text })
        assertNull(bannerText(activity))
    }

    @Test
    fun cancelledEditingChangesNothing() {
        val activity = open().get()
        ask(activity, "One", "1", "<|im_end|>")
        activity.onEdit(stored().messages[0])
        bannerButton(activity, R.string.cancel).performClick()
        assertEquals("", activity.findViewById<EditText>(R.id.input).text.toString())
        ask(activity, "Two", "2", "<|im_end|>")
        assertEquals(listOf("One", "1", "Two", "2"), bubbles(activity))
    }

    @Test
    fun statisticsAreShownForEachAnswer() {
        val activity = open().get()
        ask(activity, "Hi", "a", " b", " c", "<|im_end|>")
        val line = (last(activity, R.id.statistics) as TextView).text.toString()
        assertTrue(line, line.startsWith("3 tokens · 10.0 tok/s · first after "))
        last(activity, R.id.statistics).performClick()
        val details = dialog().findViewById<TextView>(android.R.id.message)?.text.toString()
        assertTrue(details, "Answer: 3 tokens" in details && "Prefill: " in details && "Memory of the app: " in details)
    }

    @Test
    fun rotationInMidAnswerGoesOn() {
        val controller = open()
        beginToAsk(controller.get(), "Letters", "a", " b", " c", " d", "<|im_end|>")
        type(controller.get(), "a draft")
        controller.recreate()
        val after = controller.get()
        assertEquals("Letters", bubbles(after)[0])
        assertTrue("the partial answer is there at once", bubbles(after)[1].startsWith("a"))
        assertEquals("Stop", after.findViewById<View>(R.id.send).contentDescription)
        assertEquals("a draft", after.findViewById<EditText>(R.id.input).text.toString())
        engine.resume()
        waitUntil("the end") { !app.models.busy }
        idle()
        assertEquals(listOf("Letters", "a b c d"), bubbles(after))
        assertEquals(1, generated().size)
    }

    @Test
    fun anAnswerGoesOnWhileNoScreenShowsIt() {
        val controller = open()
        engine.script("a", " b", "<|im_end|>")
        engine.pause()
        say(controller.get(), "Letters")
        val id = stored().id
        controller.close()
        engine.resume()
        waitUntil("the end") { !app.models.busy }
        assertEquals(AnswerEnd.COMPLETE, stored().messages[1].end)
        assertEquals(listOf("Letters", "a b"), bubbles(open(id).get()))
    }

    @Test
    fun aKilledProcessLeavesTheTextAndAWayOn() {
        // What a process that was killed in mid-answer has on the disk.
        val store = ConversationStore(File(app.filesDir, "conversations"))
        val conversation = store.create("demo")
        store.addUser(conversation.id, "Tell me a story")
        val message = store.startAnswer(conversation.id)
        store.updateAnswer(conversation.id, message.id, "Once upon a")
        val activity = open(conversation.id).get()
        assertEquals(listOf("Tell me a story", "Once upon a"), bubbles(activity))
        assertTrue(texts(activity).toString(), activity.getString(R.string.end_interrupted) in texts(activity))
        engine.script("time there was", "<|im_end|>")
        last(activity, R.id.go_on).performClick()
        waitUntil("the end") { !app.models.busy }
        idle()
        assertEquals(
            listOf("Tell me a story", "Once upon a", activity.getString(R.string.go_on_message), "time there was"),
            bubbles(activity),
        )
        val fed = engine.cache
        assertTrue(fed, "<|im_start|>assistant\nOnce upon a<|im_end|>" in fed)
    }

    @Test
    fun theStoreHasThePartialAnswerEachSecond() {
        val activity = open().get()
        beginToAsk(activity, "Letters", "a", " b", " c", " d", " e", "<|im_end|>")
        Thread.sleep(1100)
        engine.step(2)
        // Another process would read the files, not this one's memory.
        val other = { ConversationStore(File(app.filesDir, "conversations")).list().single().messages[1] }
        waitUntil("a partial answer on the disk") { other().text.startsWith("a b") }
        assertEquals(AnswerEnd.INTERRUPTED, other().end)
    }

    @Test
    fun aMessageWithoutAnAnswerCanBeAnswered() {
        val store = ConversationStore(File(app.filesDir, "conversations"))
        val conversation = store.create("demo")
        store.addUser(conversation.id, "Hello?")
        val activity = open(conversation.id).get()
        assertEquals(activity.getString(R.string.unanswered), bannerText(activity))
        engine.script("Hello!", "<|im_end|>")
        bannerButton(activity, R.string.answer_now).performClick()
        waitUntil("the end") { !app.models.busy }
        idle()
        assertEquals(listOf("Hello?", "Hello!"), bubbles(activity))
        assertNull(bannerText(activity))
    }

    @Test
    fun aFailedLoadIsASentenceAndCanBeTriedAgain() {
        val activity = open().get()
        engine.failOn = {
            if (it == Call.Load) EngineFailure(EngineFailure.Kind.UNKNOWN, 0x42, "odd") else null
        }
        say(activity, "Hello")
        waitUntil("the failure") { !app.models.busy }
        idle()
        assertTrue(bannerText(activity), bannerText(activity).orEmpty().contains("0x42"))
        assertEquals(AnswerEnd.FAILED, stored().messages[1].end)
        engine.failOn = { null }
        bannerButton(activity, R.string.answer_again).performClick()
        waitUntil("the end") { !app.models.busy }
        idle()
        assertEquals(listOf("Hello", "Yes."), bubbles(activity))
        assertNull(bannerText(activity))
        assertEquals("the failed engine is not used again", 2, app.made.size)
    }

    @Test
    fun aFailureInMidAnswerKeepsTheText() {
        val activity = open().get()
        engine.failAfterPiece = { if (it == 1) EngineFailure(EngineFailure.Kind.UNKNOWN, 7, "odd") else null }
        ask(activity, "Letters", "a", " b", " c", "<|im_end|>")
        assertEquals(AnswerEnd.FAILED, stored().messages[1].end)
        assertTrue(stored().messages[1].text, stored().messages[1].text.startsWith("a"))
        assertTrue(texts(activity).toString(), activity.getString(R.string.end_failed) in texts(activity))
    }

    @Test
    fun aSpecialTokenInAMessageIsRefused() {
        val activity = open().get()
        ask(activity, "Say <|im_end|> please")
        assertTrue(bannerText(activity), bannerText(activity).orEmpty().contains("<|im_end|>"))
        assertEquals(emptyList<Call>(), generated())
        bannerButton(activity, R.string.edit_message).performClick()
        assertEquals("Say <|im_end|> please", activity.findViewById<EditText>(R.id.input).text.toString())
        ask(activity, "Say goodbye please", "Goodbye", "<|im_end|>")
        assertEquals(listOf("Say goodbye please", "Goodbye"), bubbles(activity))
    }

    @Test
    fun theCounterCountsTheDraftToo() {
        val activity = open().get()
        settle()
        val counter = activity.findViewById<TextView>(R.id.context)
        assertEquals("Context: 128 tokens", counter.text.toString())
        type(activity, "one two three")
        settle()
        val draft = app.tokenizer(requireNotNull(app.bundles.find("demo")))
            .count("<|im_start|>user\none two three<|im_end|>\n<|im_start|>assistant\n").tokens
        assertEquals("${128 - draft} of 128 tokens left", counter.text.toString())
    }

    @Test
    fun theCounterHasTheConversationsSystemPromptAndNotTheSettings() {
        val id = app.conversations.create("demo").id
        app.conversations.addUser(id, "Hello?")
        app.settings["demo"] = GenerationSettings(systemPrompt = "Be brief and kind.")
        val activity = open(id).get()
        settle()
        val used = app.tokenizer(requireNotNull(app.bundles.find("demo")))
            .count("<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n").tokens
        val counter = activity.findViewById<TextView>(R.id.context)
        assertEquals("${128 - used} of 128 tokens left", counter.text.toString())
        activity.onNewConversation()
        type(activity, "Hello?")
        settle()
        assertNotEquals("a new one would have it", "${128 - used} of 128 tokens left", counter.text.toString())
    }

    @Test
    fun onlyTheNewestCountIsMade() {
        val bundle = requireNotNull(app.bundles.find("demo"))
        val jobs = mutableListOf<Runnable>()
        var counted = 0
        val counter = ContextCounter({ app.tokenizer(it).also { counted++ } }, jobs::add)
        val results = mutableListOf<TokenCount>()
        for (text in listOf("a", "a b", "a b c")) {
            counter.count(bundle, null, listOf(Turn(Role.USER, text))) { results += it }
        }
        jobs.forEach(Runnable::run)
        idle()
        assertEquals(1, counted)
        val newest = usedTokens(bundle.manifest, app.tokenizer(bundle), listOf(Turn(Role.USER, "a b c")))
        assertEquals(listOf(newest), results)
    }

    @Test
    fun aFullContextHasAWayOn() {
        val activity = open().get()
        ask(activity, "First " + "word ".repeat(40), "fine", "<|im_end|>")
        ask(activity, "Second " + "word ".repeat(20), "fine", "<|im_end|>")
        ask(activity, "Third " + "word ".repeat(40))
        settle()
        assertEquals(AnswerEnd.FAILED, stored().messages.last().end)
        assertTrue(bannerText(activity), bannerText(activity).orEmpty().contains("128"))
        engine.script("Now it fits", "<|im_end|>")
        bannerButton(activity, R.string.drop_oldest).performClick()
        waitUntil("the answer") { stored().messages.last().end == AnswerEnd.COMPLETE }
        settle()
        assertEquals("Now it fits", bubbles(activity).last())
        assertEquals("nothing is lost", 6, stored().messages.size)
        assertTrue(texts(activity).toString(), activity.getString(R.string.not_seen_above) in texts(activity))
        val fed = engine.cache
        assertFalse(fed, "First" in fed)
        assertTrue(fed, "Third" in fed)
        assertNull(bannerText(activity))
    }

    @Test
    fun aMessageLongerThanTheContextCannotBeHelped() {
        val activity = open().get()
        ask(activity, "word ".repeat(200))
        settle()
        assertTrue(bannerText(activity), bannerText(activity).orEmpty().contains("128"))
        assertEquals(emptyList<Call>(), generated())
        bannerButton(activity, R.string.edit_message).performClick()
        ask(activity, "a word", "Yes", "<|im_end|>")
        settle()
        assertEquals(listOf("a word", "Yes"), bubbles(activity))
        assertNull(bannerText(activity))
    }

    @Test
    fun anAnswerThatFillsTheContextHasAWayOn() {
        val activity = open().get()
        ask(activity, "One", "1", "<|im_end|>")
        ask(activity, "Count", *Array(300) { " a" })
        settle()
        assertEquals(AnswerEnd.CONTEXT_FULL, stored().messages.last().end)
        assertEquals(activity.getString(R.string.context_full, "128"), bannerText(activity))
        assertEquals("0 of 128 tokens left", activity.findViewById<TextView>(R.id.context).text.toString())
        assertEquals("no room to continue", View.GONE, last(activity, R.id.go_on).visibility)
        bannerButton(activity, R.string.new_conversation).performClick()
        ask(activity, "Two", "2", "<|im_end|>")
        assertEquals(listOf("Two", "2"), bubbles(activity))
    }

    @Test
    fun aFullDiskIsSaidAndTheTextKept() {
        File(app.filesDir, "conversations").writeText("in the way")
        val activity = open().get()
        say(activity, "Hello")
        idle()
        val said = bannerText(activity).orEmpty()
        assertTrue(said, said.startsWith("The conversation could not be saved"))
        assertEquals("Hello", activity.findViewById<EditText>(R.id.input).text.toString())
        assertFalse(app.models.busy)
    }

    @Test
    fun aConversationIsSavedAsAFile() {
        val activity = open().get()
        ask(activity, "One / two?", "1", "<|im_end|>")
        activity.onOptionsItemSelected(RoboMenuItem(R.id.save))
        val asked = shadowOf(activity).nextStartedActivityForResult.intent
        assertEquals(Intent.ACTION_CREATE_DOCUMENT, asked.action)
        assertEquals("One   two.txt", asked.getStringExtra(Intent.EXTRA_TITLE))
        val file = Uri.parse("content://files/1")
        val written = ByteArrayOutputStream()
        shadowOf(app.contentResolver).registerOutputStream(file, written)
        shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(file))
        settle()
        assertEquals("One / two?\n\nYou:\nOne / two?\n\nModel:\n1\n", written.toString())
        assertEquals("Saved", ShadowToast.getTextOfLatestToast())
    }

    @Test
    fun barsKeyboardAndCutoutDoNotCoverTheScreen() {
        val activity = open().get()
        val insets = WindowInsets.Builder()
            .setInsets(WindowInsets.Type.statusBars(), Insets.of(0, 50, 0, 0))
            .setInsets(WindowInsets.Type.displayCutout(), Insets.of(30, 0, 0, 0))
            .setInsets(WindowInsets.Type.navigationBars(), Insets.of(0, 0, 0, 40))
            .setInsets(WindowInsets.Type.ime(), Insets.of(0, 0, 0, 600))
            .build()
        val root = activity.findViewById<View>(R.id.screen)
        root.dispatchApplyWindowInsets(insets)
        val padding = listOf(root.paddingLeft, root.paddingTop, root.paddingRight, root.paddingBottom)
        assertEquals(listOf(30, 50, 0, 600), padding)
    }

    @Test
    fun aLongConversationShowsItsEndFirst() {
        val store = app.conversations
        val id = store.create("demo").id
        repeat(60) { store.addUser(id, "message $it") }
        val activity = open(id).get()
        assertEquals((20..59).map { "message $it" }, bubbles(activity))
        val column = activity.findViewById<ViewGroup>(R.id.messages).getChildAt(0) as ViewGroup
        column.getChildAt(0).performClick()
        assertEquals((0..59).map { "message $it" }, bubbles(activity))
    }

    @Test
    fun controlEnterSends() {
        val activity = open().get()
        type(activity, "Hello")
        val input = activity.findViewById<EditText>(R.id.input)
        val enter = { state: Int -> KeyEvent(0, 0, KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_ENTER, 0, state) }
        input.dispatchKeyEvent(enter(0))
        assertEquals("a line of its own", emptyList<Any>(), app.conversations.list())
        input.dispatchKeyEvent(enter(KeyEvent.META_CTRL_ON))
        waitUntil("the end") { !app.models.busy }
        assertEquals("Hello", stored().messages[0].text)
    }

    @Test
    fun theNotificationIsAskedForOnce() {
        val activity = open().get()
        engine.pause()
        say(activity, "Hello")
        assertEquals(activity.getString(R.string.ask_notifications), bannerText(activity))
        bannerButton(activity, R.string.allow).performClick()
        val asked = shadowOf(activity).lastRequestedPermission.requestedPermissions.toList()
        assertEquals(listOf(POST_NOTIFICATIONS), asked)
        assertNull(bannerText(activity))
        engine.resume()
        waitUntil("the end") { !app.models.busy }
        engine.pause()
        say(activity, "Again")
        assertNull(bannerText(activity))
    }

    @Test
    fun aNewConversationLeavesTheOldOne() {
        val activity = open().get()
        ask(activity, "One", "1", "<|im_end|>")
        activity.onOptionsItemSelected(RoboMenuItem(R.id.new_conversation))
        assertEquals(emptyList<String>(), bubbles(activity))
        assertEquals(View.VISIBLE, activity.findViewById<View>(R.id.empty).visibility)
        ask(activity, "Two", "2", "<|im_end|>")
        assertEquals(listOf("Two", "One"), app.conversations.list().map { it.title })
        assertFalse("the model has not seen the other one", "One" in engine.cache)
    }

    @Test
    fun theSystemPromptIsTheSettings() {
        app.settings["demo"] = GenerationSettings("Be brief.", 0.5f, 3)
        val activity = open().get()
        ask(activity, "Letters", "a", " b", " c", " d", " e", "<|im_end|>")
        assertTrue(engine.cache, engine.cache.startsWith("<|im_start|>system\nBe brief.<|im_end|>\n"))
        assertEquals(3 to 0.5f, generated().single().let { it.maxNewTokens to it.temperature })
        assertEquals(AnswerEnd.MAX_TOKENS, stored().messages[1].end)
        assertTrue(activity.getString(R.string.end_max_tokens) in texts(activity))
        assertEquals(View.VISIBLE, last(activity, R.id.go_on).visibility)
    }

    @Test
    fun aBundleThatIsGoneLeavesTheTextReadable() {
        val first = open()
        ask(first.get(), "One", "1", "<|im_end|>")
        val id = stored().id
        first.close()
        File(app.root, "demo").deleteRecursively()
        val activity = open(id).get()
        assertEquals(listOf("One", "1"), bubbles(activity))
        assertEquals(activity.getString(R.string.bundle_missing, "demo"), bannerText(activity))
        assertFalse(activity.findViewById<View>(R.id.input).isEnabled)
        assertFalse(activity.findViewById<View>(R.id.send).isEnabled)
    }

    /** Opens an old conversation with the bundle as it is, and tries all ways to ask it. */
    private fun assertRefused(sentence: (Activity) -> String) {
        val id = app.conversations.create("demo").id
        app.conversations.addUser(id, "Hello?")
        val activity = openAsItIs(id).get()
        say(activity, "Are you there?") // before the storage was looked at
        waitUntil("the reason") { bannerText(activity) == sentence(activity) }
        say(activity, "Are you there?")
        activity.onAgain()
        idle()
        assertEquals(listOf("Hello?"), stored().messages.map { it.text })
        assertEquals("Are you there?", activity.findViewById<EditText>(R.id.input).text.toString())
        assertFalse(app.models.busy)
        assertEquals("no engine", emptyList<Any>(), app.made)
        bannerButton(activity, R.string.obstacle_open).performClick()
        val started = shadowOf(activity).nextStartedActivity
        assertEquals(BundlesActivity::class.java.name, started.component?.className)
        assertEquals("demo", started.getStringExtra(BundlesActivity.BUNDLE))
    }

    @Test
    fun anOldConversationDoesNotLeadPastAWrongHash() {
        File(app.root, "demo/model.pte").apply { writeBytes(readBytes().also { it[7]++ }) }
        assertRefused { it.getString(R.string.problem_wrong_hash, "model.pte") }
    }

    @Test
    fun anOldConversationDoesNotLeadPastTheLicense() =
        assertRefused { it.getString(R.string.license_intro, "SmolLM2-135M-Instruct", "Apache-2.0") }

    @Test
    fun anOldConversationDoesNotLeadPastAPhoneThatDoesNotRunIt() {
        TestBundles.writeQnn(app.root, "demo", soc = "sm8750")
        val manifest = requireNotNull(app.bundles.find("demo")).manifest
        val reasons = deviceFit(manifest, TestBundles.S24.forBackend(manifest.backend)).reasons
        assertTrue("$reasons", reasons.isNotEmpty())
        assertRefused { activity -> reasons.joinToString(" ") { activity.sentence(it) } }
    }

    @Test
    fun whatIsAskedBeforeTheStorageWasLookedAtIsAnsweredThen() {
        val bundle = ModelBundle.open(File(app.root, "demo"))
        HashLedger(File(app.filesDir, "checked.json")).record(bundle, wrong = null) // by an earlier process
        app.licenses.accept(bundle)
        app.looking = CountDownLatch(1)
        val activity = openAsItIs().get()
        say(activity, "Hello")
        idle()
        assertNull("not looked at yet", app.library.snapshot.items)
        assertEquals(emptyList<Any>(), app.conversations.list())
        app.looking.countDown()
        waitUntil("the answer") { app.conversations.list().singleOrNull()?.messages?.lastOrNull()?.text == "Yes." }
        assertEquals(listOf("Hello", "Yes."), stored().messages.map { it.text })
    }

    @Test
    fun twoScreensOfTwoConversationsDoNotMix() {
        val one = open()
        ask(one.get(), "One", "1", "<|im_end|>")
        val two = open()
        beginToAsk(two.get(), "Two", "2", " 2", " 2", " 2", "<|im_end|>")
        assertEquals(listOf("One", "1"), bubbles(one.get()))
        assertEquals("Send", one.get().findViewById<View>(R.id.send).contentDescription)
        say(one.get(), "Me too")
        assertEquals(one.get().getString(R.string.model_busy), ShadowToast.getTextOfLatestToast())
        assertEquals("the text is not lost", "Me too", one.get().findViewById<EditText>(R.id.input).text.toString())
        assertNotEquals(emptyList<Any>(), generated())
        assertEquals(2, app.conversations.read(app.conversations.list().last().id)?.messages?.size)
    }

    @Test
    fun aRefusedSendLeavesNoEmptyConversation() {
        val one = open()
        beginToAsk(one.get(), "One", "1", " 1", " 1", " 1", "<|im_end|>")
        val two = open().get()
        say(two, "Me too")
        assertEquals(two.getString(R.string.model_busy), ShadowToast.getTextOfLatestToast())
        assertEquals(listOf("One"), app.conversations.list().map { it.title })
    }

    @Test
    fun talkBackHearsWhoSpeaks() {
        val activity = open().get()
        ask(activity, "One", "**1**", "<|im_end|>")
        val said = last(activity, R.id.text).contentDescription.toString()
        assertEquals("Model: 1", said)
        val live = activity.findViewById<TextView>(R.id.work_text).accessibilityLiveRegion
        assertEquals(View.ACCESSIBILITY_LIVE_REGION_POLITE, live)
        val column = activity.findViewById<MessageList>(R.id.messages)
        assertEquals("bubbles are not live", View.ACCESSIBILITY_LIVE_REGION_NONE, column.accessibilityLiveRegion)
    }

    @Test
    fun everyButtonHasALabel() {
        val activity = open().get()
        ask(activity, "One", "1", "<|im_end|>")
        fun unlabelled(view: View): List<View> = when {
            view is ImageButton && view.contentDescription.isNullOrEmpty() -> listOf(view)
            view is ViewGroup -> (0 until view.childCount).flatMap { unlabelled(view.getChildAt(it)) }
            else -> emptyList()
        }
        assertEquals(emptyList<View>(), unlabelled(activity.window.decorView))
    }
}
