package org.mlpexport.demo

import android.content.ClipData
import android.content.ClipboardManager
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.os.SystemClock
import android.view.KeyEvent
import android.view.LayoutInflater
import android.view.Menu
import android.view.MenuItem
import android.view.View
import android.view.ViewConfiguration
import android.view.ViewGroup
import android.view.inputmethod.InputMethodManager
import android.widget.Button
import android.widget.EditText
import android.widget.ImageButton
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.Conversation
import org.mlpexport.core.Role
import org.mlpexport.core.TokenCount
import org.mlpexport.core.Turn
import java.io.Closeable
import java.io.IOException
import org.mlpexport.core.Bundle as ModelBundle

/** One conversation with one bundle. All that lasts is in the store and in [ModelHost]; this shows it. */
class ChatActivity : Screen(), MessageList.Listener, ChatBanners.Ways {
    private val messages by lazy { requireViewById<MessageList>(R.id.messages) }
    private val input by lazy { requireViewById<EditText>(R.id.input) }
    private val send by lazy { requireViewById<ImageButton>(R.id.send) }
    private val banner by lazy { requireViewById<BannerView>(R.id.banner) }
    private val main = Handler(Looper.getMainLooper())
    private val banners by lazy { ChatBanners(this, this) }
    private val texts by lazy { ConversationTexts(this) }

    private lateinit var bundleName: String
    private var conversationId: String? = null
    private var editing: String? = null // the user's message that is being written anew
    private var shownFrom = 0 // index of the first message that is shown
    private var observer: Closeable? = null

    private var bundle: ModelBundle? = null
    private var item: BundleLibrary.Item? = null // null: the storage is being looked at
    private var lookedAt: List<BundleLibrary.Item>? = null
    private var libraryObserver: Closeable? = null
    private var waiting: ((ModelBundle) -> Boolean)? = null // what was asked until then
    private var conversation: Conversation? = null
    private var used: TokenCount? = null
    private var dismissed: ModelHost.State? = null // a failure whose banner was closed
    private var storeProblem: IOException? = null
    private var sentAt = -FOREVER // uptime in milliseconds
    private var spoken = false // an answer began while this screen showed it: its end is announced

    private val mine get() = app.models.request?.tag.let { it != null && it == conversationId?.let(Chats::tag) }
    private val answering get() = app.models.busy && mine

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        bundleName = intent.getStringExtra(EXTRA_BUNDLE).orEmpty()
        conversationId = savedInstanceState?.getString(EXTRA_CONVERSATION) ?: intent.getStringExtra(EXTRA_CONVERSATION)
        editing = savedInstanceState?.getString(STATE_EDITING)
        show(R.layout.activity_chat)
        messages.listener = this
        send.setOnClickListener { if (answering) stop() else send() }
        requireViewById<View>(R.id.to_end).setOnClickListener { messages.scrollToEnd() }
        input.setOnKeyListener { _, key, event -> sendWithKeys(key, event) }
        input.addTextChangedListener(afterChange { countSoon() })
        fillSuggestions()
    }

    override fun onStart() {
        super.onStart()
        look() // it may have been deleted or changed since
        if (bundle != null && item == null) app.library.refresh()
        reload()
        shownFrom = maxOf(0, conversation?.messages.orEmpty().size - PAGE)
        observer = app.models.observe(::onState)
        libraryObserver = app.library.observe(::onLibrary)
        countSoon()
    }

    override fun onStop() {
        observer?.close()
        observer = null
        libraryObserver?.close()
        waiting = null
        main.removeCallbacksAndMessages(null)
        super.onStop()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(EXTRA_CONVERSATION, conversationId)
        outState.putString(STATE_EDITING, editing)
    }

    private fun onState(state: ModelHost.State) {
        if (mine && (state is ModelHost.State.Done || state is ModelHost.State.Failed)) {
            reload()
            countSoon()
            if (spoken && state is ModelHost.State.Done) announce(R.string.answer_done)
        }
        spoken = answering
        render()
    }

    private fun onLibrary(snapshot: BundleLibrary.Snapshot) {
        if (snapshot.items === lookedAt) return // only progress
        look()
        val ask = waiting
        if (item != null && ask != null) {
            waiting = null
            asking(ask)
        } else {
            render()
        }
    }

    /** Takes the bundle as it is on the storage, and what the library knows of it if that is not out of date. */
    private fun look() {
        val entry = app.bundles.entry(bundleName)
        bundle = (entry as? BundleEntry.Usable)?.bundle
        val snapshot = app.library.snapshot
        lookedAt = snapshot.items
        item = snapshot.item(bundleName)?.takeIf { it.entry == entry }
    }

    private fun announce(text: Int) = messages.announceForAccessibility(getString(text))

    private fun reload() {
        conversation = conversationId?.let(app.conversations::read)
        if (conversation == null) conversationId = null // deleted elsewhere
        invalidateOptionsMenu()
    }

    // What is shown

    private fun render() {
        val conversation = conversation
        actionBar?.title = conversation?.title?.ifEmpty { null } ?: getString(R.string.new_conversation)
        actionBar?.subtitle = bundleName
        requireViewById<View>(R.id.empty).visibility = shown(conversation == null || conversation.messages.isEmpty())
        val moment = moment()
        messages.show(chatRows(moment, shownFrom, texts))
        renderWork()
        renderContext()
        banner.show(banners.choose(moment))
        send.setImageResource(if (answering) R.drawable.ic_stop else R.drawable.ic_send)
        send.contentDescription = getString(if (answering) R.string.stop else R.string.send)
        send.isEnabled = answering || bundle != null
        input.isEnabled = bundle != null
        input.hint = getString(if (bundle == null) R.string.message_hint_none else R.string.message_hint)
    }

    private fun moment() = ChatMoment(
        bundle = bundle,
        bundleName = bundleName,
        obstacle = item?.let { obstacle(it) },
        conversation = conversation,
        window = conversation?.let(app.chats::windowStart) ?: 0,
        state = app.models.state,
        mine = mine,
        editing = editing != null,
        used = used,
        dismissed = dismissed,
        storeProblem = storeProblem ?: app.chats.storageProblem?.takeIf { mine },
    )

    private fun renderWork() {
        val state = app.models.state
        val view = requireViewById<View>(R.id.work)
        val text = requireViewById<TextView>(R.id.work_text)
        val bar = requireViewById<ProgressBar>(R.id.work_progress)
        view.visibility = shown(answering)
        if (!answering) {
            text.text = null
            return
        }
        val reading = state is ModelHost.State.Working && state.text.isEmpty() && state.total > 0
        val label = when {
            state is ModelHost.State.Loading -> getString(R.string.work_loading, bundleName)
            reading -> getString(R.string.work_thinking)
            else -> getString(R.string.work_answering)
        }
        if (text.text.toString() != label) text.text = label // a live region: not at each step
        bar.isIndeterminate = !reading
        bar.visibility = shown(state !is ModelHost.State.Working || state.text.isEmpty()) // then the text itself grows
        if (state is ModelHost.State.Working && reading) {
            bar.max = state.total
            bar.progress = state.prefilled
        }
    }

    private fun renderContext() {
        val view = requireViewById<TextView>(R.id.context)
        val context = bundle?.manifest?.context
        val used = used
        view.text = when {
            context == null -> null
            used == null -> getString(R.string.context_size, number(context))
            else -> {
                val left = maxOf(0, context - used.tokens)
                val text = if (used.exact) R.string.context_left else R.string.context_left_about
                getString(text, number(left), number(context))
            }
        }
        val low = context != null && used != null && context - used.tokens < context / LOW
        view.setTextColor(getColor(if (low) R.color.error else R.color.on_surface_variant))
    }

    private fun shown(yes: Boolean) = if (yes) View.VISIBLE else View.GONE

    private fun fillSuggestions() {
        val column = requireViewById<ViewGroup>(R.id.suggestions)
        for (text in resources.getStringArray(R.array.suggestions)) {
            val button = LayoutInflater.from(this).inflate(R.layout.suggestion, column, false) as Button
            button.text = text
            button.setOnClickListener {
                input.setText(text)
                input.setSelection(text.length)
                input.requestFocus()
                getSystemService(InputMethodManager::class.java).showSoftInput(input, 0)
            }
            column.addView(button)
        }
    }

    // The context

    private fun countSoon() {
        main.removeCallbacksAndMessages(COUNT)
        main.postDelayed(::count, COUNT, COUNT_MILLIS)
    }

    private fun count() {
        val bundle = bundle ?: return
        val draft = input.text.toString().trim()
        val before = conversation?.let(app.chats::turns).orEmpty()
        val turns = if (draft.isEmpty()) before else before + Turn(Role.USER, draft)
        if (turns.isEmpty()) {
            used = null
            return renderContext()
        }
        val conversation = conversation
        val system = if (conversation == null) app.settings[bundleName].systemPrompt else conversation.systemPrompt
        app.counter.count(bundle, system, turns) {
            used = it
            if (observer != null) render()
        }
    }

    override fun onDropOldest() {
        val bundle = bundle ?: return
        val conversation = conversation ?: return
        app.counter.cut(bundle, conversation.systemPrompt, conversation.messages) { first ->
            if (first == null) {
                Toast.makeText(this, R.string.nothing_to_drop, Toast.LENGTH_LONG).show()
                return@cut
            }
            app.windows[conversation.id] = first.id
            dismissed = app.models.state
            // A question that did not fit is answered now; an answer that was cut off can go on.
            val answer = conversation.messages.lastOrNull()
            if (answer?.text.isNullOrBlank()) onAgain() else countSoon()
            render()
        }
    }

    override fun onNewConversation() {
        onStopEditing()
        conversationId = null
        conversation = null
        used = null
        shownFrom = 0
        countSoon()
        invalidateOptionsMenu()
        render()
    }

    // What the user does

    private fun send() {
        val text = input.text.toString().trim()
        if (text.isEmpty()) return
        asking { bundle ->
            val message = editing
            val old = conversationId
            val sent =
                if (message == null || old == null) {
                    app.chats.send(old, bundle, text)
                } else {
                    old.takeIf { app.chats.resend(it, bundle, message, text) }
                }
            if (sent != null) {
                conversationId = sent
                editing = null
                input.setText("")
                sentAt = SystemClock.uptimeMillis()
            }
            sent != null
        }
    }

    /** The button that sends turns into this one: the second tap of a double tap is not meant for it. */
    private fun stop() {
        if (SystemClock.uptimeMillis() - sentAt > ViewConfiguration.getDoubleTapTimeout()) app.models.stop()
    }

    /**
     * Runs [ask] with the bundle, and says so where the model is busy or the disk full. Not with a bundle against which
     * something stands; that is known at once, or soon after a start of the app in this screen.
     */
    private fun asking(ask: (ModelBundle) -> Boolean) {
        val bundle = bundle ?: return
        val item = item
        if (item == null) {
            waiting = ask
            return
        }
        if (obstacle(item) != null) return render()
        try {
            if (!ask(bundle)) Toast.makeText(this, R.string.model_busy, Toast.LENGTH_SHORT).show()
        } catch (problem: IOException) {
            storeProblem = problem
        }
        reload()
        messages.scrollToEnd()
        countSoon()
        render()
    }

    private fun sendWithKeys(key: Int, event: KeyEvent): Boolean {
        if (key != KeyEvent.KEYCODE_ENTER || !event.isCtrlPressed) return false
        if (event.action == KeyEvent.ACTION_DOWN && event.repeatCount == 0) send()
        return true
    }

    override fun onShowBundle() =
        startActivity(Intent(this, BundlesActivity::class.java).putExtra(BundlesActivity.BUNDLE, bundleName))

    override fun onCopy(message: ChatMessage) {
        val clipboard = getSystemService(ClipboardManager::class.java)
        clipboard.setPrimaryClip(ClipData.newPlainText(getString(R.string.message), message.text))
        // Android 13 shows what was copied itself.
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) {
            Toast.makeText(this, R.string.copied, Toast.LENGTH_SHORT).show()
        }
    }

    override fun onEdit(message: ChatMessage) {
        editing = message.id
        input.setText(message.text)
        input.setSelection(message.text.length)
        input.requestFocus()
        getSystemService(InputMethodManager::class.java).showSoftInput(input, 0)
        render()
    }

    override fun onEditLast() {
        conversation?.messages?.lastOrNull { it.role == Role.USER }?.let(::onEdit)
    }

    override fun onStopEditing() {
        if (editing == null) return
        editing = null
        input.setText("")
        render()
    }

    override fun onAgain() {
        val id = conversationId ?: return
        // Greedy decoding would give a whole answer once more, word for word.
        val whole = conversation?.messages?.lastOrNull()?.end == AnswerEnd.COMPLETE
        val other = if (whole && app.settings[bundleName].temperature == 0f) OTHER_TEMPERATURE else null
        asking { app.chats.answerAgain(id, it, other) }
    }

    override fun onGoOn() {
        val id = conversationId ?: return
        asking { app.chats.send(id, it, getString(R.string.go_on_message)) != null }
    }

    override fun onClose() {
        dismissed = app.models.state
        storeProblem = null
        render()
    }

    override fun onChanged() = render()

    override fun onStatistics(message: ChatMessage) = statisticsDialog(message, texts)

    override fun onEarlier() {
        shownFrom = maxOf(0, shownFrom - PAGE)
        render()
    }

    override fun onEnd(visible: Boolean) {
        requireViewById<View>(R.id.to_end).visibility = shown(!visible)
    }

    // The menu

    override fun onCreateOptionsMenu(menu: Menu): Boolean {
        menuInflater.inflate(R.menu.chat, menu)
        return true
    }

    override fun onPrepareOptionsMenu(menu: Menu): Boolean {
        for (item in listOf(R.id.rename, R.id.share, R.id.save, R.id.delete)) {
            menu.findItem(item).isVisible = conversation != null
        }
        menu.findItem(R.id.open_settings).isVisible = bundle != null
        menu.findItem(R.id.new_conversation).isVisible = conversation != null
        return true
    }

    override fun onOptionsItemSelected(item: MenuItem): Boolean {
        val conversation = conversation
        when (item.itemId) {
            R.id.new_conversation -> onNewConversation()
            R.id.open_conversations -> startActivity(ConversationsActivity.intent(this, bundleName))
            R.id.open_settings -> startActivity(SettingsActivity.intent(this, bundleName))
            R.id.rename -> if (conversation != null) renameDialog(conversation, ::storeChanged)
            R.id.share -> if (conversation != null) share(conversation, texts.export(conversation))
            R.id.save -> if (conversation != null) startForResultOrTell(saveIntent(conversation), SAVE)
            R.id.delete -> if (conversation != null) deleteDialog(conversation) { finish() }
            else -> return super.onOptionsItemSelected(item)
        }
        return true
    }

    private fun storeChanged() {
        reload()
        render()
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        val to = data?.data
        // Not started yet: what onStart reads is not there.
        val saved = conversationId?.let(app.conversations::read)
        if (requestCode == SAVE && resultCode == RESULT_OK && to != null && saved != null) save(texts.export(saved), to)
    }

    companion object {
        private const val EXTRA_BUNDLE = "bundle"
        private const val EXTRA_CONVERSATION = "conversation"
        private const val STATE_EDITING = "editing"
        private const val SAVE = 1
        private const val PAGE = 40 // messages
        private const val LOW = 10 // of the context: a tenth
        private const val COUNT = "count"
        private const val COUNT_MILLIS = 250L
        private const val FOREVER = 1L shl 40 // milliseconds
        private const val OTHER_TEMPERATURE = 0.7f

        /** A new conversation with [bundle], or the stored [conversation]. */
        fun intent(context: Context, bundle: String, conversation: String? = null): Intent =
            Intent(context, ChatActivity::class.java)
                .putExtra(EXTRA_BUNDLE, bundle)
                .putExtra(EXTRA_CONVERSATION, conversation)
    }
}
