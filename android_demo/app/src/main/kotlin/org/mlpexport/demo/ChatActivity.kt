package org.mlpexport.demo

import android.Manifest.permission.POST_NOTIFICATIONS
import android.app.AlertDialog
import android.content.ClipData
import android.content.ClipboardManager
import android.content.Context
import android.content.Intent
import android.content.pm.PackageManager
import android.os.Build
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.view.KeyEvent
import android.view.LayoutInflater
import android.view.Menu
import android.view.MenuItem
import android.view.View
import android.view.ViewGroup
import android.view.inputmethod.InputMethodManager
import android.widget.Button
import android.widget.EditText
import android.widget.ImageButton
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import java.io.Closeable
import java.io.IOException
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.Bundle as ModelBundle
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.Conversation
import org.mlpexport.core.PromptException
import org.mlpexport.core.PromptProblem
import org.mlpexport.core.Role
import org.mlpexport.core.TokenCount
import org.mlpexport.core.Turn
import org.mlpexport.demo.BannerView.Banner

/** One conversation with one bundle. All that lasts is in the store and in [ModelHost]; this shows it. */
class ChatActivity : Screen(), MessageList.Listener {
    private val messages by lazy { requireViewById<MessageList>(R.id.messages) }
    private val input by lazy { requireViewById<EditText>(R.id.input) }
    private val send by lazy { requireViewById<ImageButton>(R.id.send) }
    private val banner by lazy { requireViewById<BannerView>(R.id.banner) }
    private val main = Handler(Looper.getMainLooper())
    private val texts by lazy { ConversationTexts(this) }

    private lateinit var bundleName: String
    private var conversationId: String? = null
    private var editing: String? = null // the user's message that is being written anew
    private var shownFrom = 0 // index of the first message that is shown
    private var observer: Closeable? = null

    private var bundle: ModelBundle? = null
    private var conversation: Conversation? = null
    private var used: TokenCount? = null
    private var dismissed: ModelHost.State? = null // a failure whose banner was closed
    private var storeProblem: IOException? = null

    private val tag get() = conversationId?.let(Chats::tag)
    private val mine get() = app.models.request?.tag.let { it != null && it == tag }
    private val answering get() = app.models.busy && mine

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        bundleName = intent.getStringExtra(EXTRA_BUNDLE).orEmpty()
        conversationId = savedInstanceState?.getString(EXTRA_CONVERSATION) ?: intent.getStringExtra(EXTRA_CONVERSATION)
        editing = savedInstanceState?.getString(STATE_EDITING)
        show(R.layout.activity_chat)
        messages.listener = this
        send.setOnClickListener { if (answering) app.models.stop() else send() }
        requireViewById<View>(R.id.to_end).setOnClickListener { messages.scrollToEnd() }
        input.setOnKeyListener { _, key, event -> sendWithKeys(key, event) }
        input.addTextChangedListener(afterChange { countSoon() })
        if (savedInstanceState == null) intent.getStringExtra(EXTRA_DRAFT)?.let(input::setText)
        fillSuggestions()
    }

    override fun onStart() {
        super.onStart()
        bundle = app.bundles.find(bundleName) // it may have been deleted since
        reload()
        shownFrom = maxOf(0, conversation?.messages.orEmpty().size - PAGE)
        observer = app.models.observe(::onState)
    }

    override fun onStop() {
        observer?.close()
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
        }
        render()
    }

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
        messages.show(conversation?.let(::rows).orEmpty())
        renderWork()
        renderContext()
        banner.show(banner())
        send.setImageResource(if (answering) R.drawable.ic_stop else R.drawable.ic_send)
        send.contentDescription = getString(if (answering) R.string.stop else R.string.send)
        send.isEnabled = answering || bundle != null
        input.isEnabled = bundle != null
        input.hint = getString(if (bundle == null) R.string.message_hint_none else R.string.message_hint)
    }

    private fun rows(conversation: Conversation): List<MessageList.Row> {
        val all = conversation.messages
        val window = app.chats.windowStart(conversation)
        val rows = mutableListOf<MessageList.Row>()
        if (shownFrom > 0) rows += MessageList.Row.Earlier
        for ((index, message) in all.withIndex().drop(shownFrom)) {
            if (index == window && index > 0) rows += MessageList.Row.Dropped
            rows += when (message.role) {
                Role.USER -> MessageList.Row.User(message, editable = bundle != null && !app.models.busy)
                else -> modelRow(message, last = index == all.lastIndex)
            }
        }
        return rows
    }

    private fun modelRow(message: ChatMessage, last: Boolean): MessageList.Row.Model {
        val live = last && answering
        val shown = if (last && mine) message.copy(text = liveText() ?: message.text) else message
        val canAsk = last && bundle != null && !app.models.busy
        return MessageList.Row.Model(
            shown,
            live,
            end = if (live) null else texts.end(message),
            statistics = message.statistics?.let(texts::line),
            again = canAsk,
            goOn = canAsk && message.text.isNotBlank() && message.end in UNFINISHED,
        )
    }

    /** The answer as the model has it, which is newer than the store's. */
    private fun liveText() = when (val state = app.models.state) {
        is ModelHost.State.Working -> state.text
        is ModelHost.State.Done -> state.answer.text
        is ModelHost.State.Failed -> state.text
        else -> null
    }

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
                getString(if (used.exact) R.string.context_left else R.string.context_left_about, number(left), number(context))
            }
        }
        val low = context != null && used != null && context - used.tokens < context / LOW
        view.setTextColor(getColor(if (low) R.color.error else R.color.on_surface_variant))
    }

    private fun banner(): Banner? {
        val state = app.models.state
        val failure = (state as? ModelHost.State.Failed)?.takeIf { mine && it !== dismissed }?.problem
        val problem = storeProblem ?: app.chats.storageProblem?.takeIf { mine }
        val last = conversation?.messages?.lastOrNull()
        return when {
            bundle == null -> Banner("missing", getString(R.string.bundle_missing, bundleName), true, emptyList())
            problem != null -> Banner("store", getString(R.string.store_failed, problem.message), true, listOf(close()))
            editing != null -> Banner("editing", getString(R.string.editing), false, listOf(action(R.string.cancel, ::stopEditing)))
            answering -> notificationBanner()
            isFull(failure, last) -> fullBanner(failure)
            failure != null -> Banner("failed", sentence(failure), true, failureActions(failure))
            last?.role == Role.USER && !app.models.busy ->
                Banner("unanswered", getString(R.string.unanswered), false, listOf(action(R.string.answer_now, ::onAgain)))
            else -> null
        }
    }

    private fun isFull(failure: Exception?, last: ChatMessage?): Boolean {
        val context = bundle?.manifest?.context ?: return false
        val tooLong = failure is PromptException && failure.problem == PromptProblem.TOO_LONG
        val counted = used.let { it != null && it.tokens >= context && conversation != null }
        return tooLong || last?.end == AnswerEnd.CONTEXT_FULL || counted
    }

    private fun fullBanner(failure: Exception?): Banner {
        val context = number(bundle?.manifest?.context ?: 0)
        val text = if (failure != null) sentence(failure) else getString(R.string.context_full, context)
        val drop = action(R.string.drop_oldest, ::dropOldest)
        return Banner("full", text, false, listOf(drop, action(R.string.new_conversation, ::startNew)))
    }

    private fun failureActions(failure: Exception): List<Banner.Action> {
        val refused = failure is PromptException // again would be refused again
        val way = if (refused) action(R.string.edit_message, ::editLast) else action(R.string.answer_again, ::onAgain)
        return listOf(close(), way)
    }

    private fun close() = action(R.string.close) {
        dismissed = app.models.state
        storeProblem = null
        render()
    }

    private fun action(label: Int, run: () -> Unit) = Banner.Action(label, run)

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
        val system = conversation?.systemPrompt ?: app.settings[bundleName].systemPrompt
        app.counter.count(bundle, system, turns) {
            used = it
            if (observer != null) render()
        }
    }

    private fun dropOldest() {
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

    private fun startNew() {
        stopEditing()
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
            val id = conversationId ?: app.conversations.create(bundleName, app.settings[bundleName].systemPrompt).id
            conversationId = id
            val sent = if (message == null) app.chats.send(id, bundle, text) else app.chats.resend(id, bundle, message, text)
            if (sent) {
                editing = null
                input.setText("")
            }
            sent
        }
    }

    /** Runs [ask] with the bundle, and says so where the model is busy or the disk full. */
    private fun asking(ask: (ModelBundle) -> Boolean) {
        val bundle = bundle ?: return
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

    private fun editLast() {
        conversation?.messages?.lastOrNull { it.role == Role.USER }?.let(::onEdit)
    }

    private fun stopEditing() {
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
        asking { app.chats.send(id, it, getString(R.string.go_on_message)) }
    }

    override fun onStatistics(message: ChatMessage) {
        val statistics = message.statistics ?: return
        AlertDialog.Builder(this)
            .setTitle(R.string.statistics)
            .setMessage(texts.details(statistics))
            .setPositiveButton(R.string.close, null)
            .show()
    }

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
            R.id.new_conversation -> startNew()
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

    // The notification

    /** Asked once, and only while there is an answer to wait for. */
    private fun notificationBanner(): Banner? {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) return null
        val asked = getPreferences(MODE_PRIVATE).getBoolean(ASKED, false)
        if (asked || checkSelfPermission(POST_NOTIFICATIONS) == PackageManager.PERMISSION_GRANTED) return null
        val later = action(R.string.not_now) { wasAsked() }
        val allow = action(R.string.allow) {
            wasAsked()
            requestPermissions(arrayOf(POST_NOTIFICATIONS), 0)
        }
        return Banner("notifications", getString(R.string.ask_notifications), false, listOf(later, allow))
    }

    private fun wasAsked() {
        getPreferences(MODE_PRIVATE).edit().putBoolean(ASKED, true).apply()
        render()
    }

    companion object {
        private const val EXTRA_BUNDLE = "bundle"
        private const val EXTRA_CONVERSATION = "conversation"
        private const val EXTRA_DRAFT = "draft"
        private const val STATE_EDITING = "editing"
        private const val ASKED = "asked for notifications"
        private const val SAVE = 1
        private const val PAGE = 40 // messages
        private const val LOW = 10 // of the context: a tenth
        private const val COUNT = "count"
        private const val COUNT_MILLIS = 250L
        private const val OTHER_TEMPERATURE = 0.7f
        private val UNFINISHED =
            setOf(AnswerEnd.STOPPED, AnswerEnd.INTERRUPTED, AnswerEnd.MAX_TOKENS, AnswerEnd.FAILED, AnswerEnd.CONTEXT_FULL)

        /** A new conversation with [bundle], or the stored [conversation]; [draft] is put into the input. */
        fun intent(context: Context, bundle: String, conversation: String? = null, draft: String? = null): Intent =
            Intent(context, ChatActivity::class.java)
                .putExtra(EXTRA_BUNDLE, bundle)
                .putExtra(EXTRA_CONVERSATION, conversation)
                .putExtra(EXTRA_DRAFT, draft)
    }
}
