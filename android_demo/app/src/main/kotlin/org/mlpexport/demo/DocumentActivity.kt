package org.mlpexport.demo

import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.ClipboardManager
import android.content.Context
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.ProgressBar
import android.widget.TextView
import org.mlpexport.core.Bundle as ModelBundle
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.Role
import org.mlpexport.core.Turn
import java.io.Closeable
import java.util.UUID

/**
 * A text file as long as the context allows: its tokens, the time that reading takes, a summary, and questions. The
 * document is read once; each further question adds only itself to the KV cache.
 */
class DocumentActivity : Screen(), MessageList.Listener {
    private val models get() = app.models
    private val status by lazy { WorkStatus(this, app.speeds) }
    private val texts by lazy { ConversationTexts(this) }
    private lateinit var work: Work
    private lateinit var observer: Closeable
    private var bundle: ModelBundle? = null

    /** What is open and what was asked; lives on when the screen is turned. */
    private class Work {
        val tag = "document/${UUID.randomUUID()}"
        var uri: Uri? = null
        var reading = false
        var document: OpenedDocument? = null
        val talk = DocumentTalk()
        var request: ModelHost.Request? = null
        var problem: String? = null

        /** The screen that shows this at the moment. */
        var changed: () -> Unit = {}
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val kept = lastNonConfigurationInstance as? Work
        work = kept ?: Work()
        show(R.layout.activity_document)
        title = getString(R.string.document_title)
        bundle = app.bundles.find(intent.getStringExtra(BUNDLE).orEmpty())
        view<MessageList>(R.id.document_answers).listener = this
        view<View>(R.id.document_open).setOnClickListener { pick() }
        view<View>(R.id.document_summarize).setOnClickListener {
            ask(getString(R.string.task_summarize), Task.SUMMARIZE)
        }
        view<View>(R.id.document_ask).setOnClickListener { askQuestion() }
        view<View>(R.id.document_stop).setOnClickListener { if (mine()) models.stop() }
        if (kept == null) savedInstanceState?.getString(URI)?.let { open(Uri.parse(it), savedInstanceState) }
        // Not only while it is seen: another request takes the place of an answer that nobody fetched.
        observer = models.observe(::onState)
    }

    override fun onStart() {
        super.onStart()
        work.changed = ::draw
        draw()
    }

    override fun onStop() {
        work.changed = {}
        super.onStop()
    }

    override fun onDestroy() {
        observer.close()
        if (isFinishing && mine()) models.stop()
        super.onDestroy()
    }

    override fun onRetainNonConfigurationInstance(): Any = work

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(URI, work.uri?.toString())
        work.talk.save(outState)
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data
        if (requestCode != OPEN || resultCode != RESULT_OK || uri == null) return
        keepPermission(uri)
        open(uri)
    }

    /** So that the document can be opened again after the system has ended the app; only ever for one document. */
    private fun keepPermission(uri: Uri) {
        contentResolver.persistedUriPermissions.toList().forEach {
            contentResolver.releasePersistableUriPermission(it.uri, Intent.FLAG_GRANT_READ_URI_PERMISSION)
        }
        try {
            contentResolver.takePersistableUriPermission(uri, Intent.FLAG_GRANT_READ_URI_PERMISSION)
        } catch (_: SecurityException) {
            // Not every provider offers it. Then the document is opened once more by hand.
        }
    }

    private fun pick() {
        if (busy()) return
        // Many text files have no type that says so: what is no text is refused when it is read.
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*")
            .putExtra(Intent.EXTRA_MIME_TYPES, arrayOf("text/*", "application/*"))
        try {
            startActivityForResult(intent, OPEN)
        } catch (_: ActivityNotFoundException) {
            work.problem = getString(R.string.bundles_no_picker)
            draw()
        }
    }

    /** [saved]: what was said of this document before the system ended the app. */
    private fun open(uri: Uri, saved: Bundle? = null) {
        val bundle = bundle ?: return draw()
        val work = Work().also { it.changed = ::draw }
        this.work = work
        work.uri = uri
        work.reading = true
        draw()
        val reader = DocumentReader(applicationContext, app::tokenizer)
        app.background.execute {
            val document = reader.read(uri, bundle)
            mainExecutor.execute {
                work.document = document
                if (saved != null && document is OpenedDocument.Text) work.talk.restore(saved, document.text)
                work.problem = (document as? OpenedDocument.Refused)?.sentence
                work.reading = false
                work.changed()
            }
        }
    }

    private fun askQuestion() {
        val field = view<EditText>(R.id.document_question)
        val question = field.text.toString().trim()
        if (question.isNotEmpty() && ask(question, Task.ASK)) field.setText("")
    }

    /** False where it was refused, as for a second tap. */
    private fun ask(question: String, task: Task): Boolean {
        val document = work.document as? OpenedDocument.Text ?: return false
        val bundle = bundle ?: return false
        if (busy()) return false
        // Documents come with their own instruction, so the bundle's system prompt stays out of it.
        val settings = GenerationSettings(maxNewTokens = app.settings[bundle.folder.name].maxNewTokens)
        val request = ModelHost.Request(bundle, work.talk.ask(document.text, question, task), settings, work.tag)
        work.problem = null
        val submitted = models.submit(request)
        if (submitted) {
            work.request = request
            work.talk.messages += message(Role.USER, question)
            app.choice.used(bundle.folder.name)
        } else {
            work.problem = getString(R.string.task_busy)
        }
        draw()
        return submitted
    }

    private fun message(role: Role, text: String) =
        ChatMessage("${work.talk.messages.size}", role, text, System.currentTimeMillis())

    private fun onState(state: ModelHost.State) {
        val request = work.request
        if (request != null && models.request === request) {
            if (state is ModelHost.State.Done) finish(request, state)
            if (state is ModelHost.State.Failed) fail(state)
        }
        work.changed()
    }

    private fun finish(request: ModelHost.Request, state: ModelHost.State.Done) {
        val answer = state.answer
        work.request = null
        val message = message(Role.ASSISTANT, answer.text)
        work.talk.messages += message.copy(end = answer.end, statistics = answer.statistics)
        if (answer.text.isBlank()) return // nothing to go on from
        work.talk.turns.clear()
        work.talk.turns += request.turns + Turn(Role.ASSISTANT, answer.text)
    }

    private fun fail(state: ModelHost.State.Failed) {
        work.request = null
        // The question goes back to where it can be changed.
        val question = work.talk.messages.removeLastOrNull()?.text.orEmpty()
        val field = view<EditText>(R.id.document_question)
        if (field.text.isEmpty() && work.talk.turns.isNotEmpty()) field.setText(question)
        work.problem = sentence(state.problem)
    }

    private fun mine() = models.busy && models.request?.tag == work.tag

    private fun busy() = work.reading || mine()

    private fun draw() {
        val document = work.document as? OpenedDocument.Text
        val bundle = bundle
        view<TextView>(R.id.document_name).text = document?.name ?: getString(R.string.document_none)
        view<TextView>(R.id.document_about).apply {
            val about = about(document, bundle)
            if (text.toString() != about) text = about
        }
        view<Button>(R.id.document_open).apply {
            setText(if (document == null) R.string.document_open else R.string.document_open_other)
            enable(this, bundle != null && !busy())
            // While the model reads, the room is better used below.
            visibility = if (document != null && busy()) View.GONE else View.VISIBLE
        }
        view<View>(R.id.document_summarize).apply {
            visibility = if (document != null && work.talk.messages.isEmpty() && !busy()) View.VISIBLE else View.GONE
        }
        enable(view(R.id.document_ask), document != null && !busy())
        view<EditText>(R.id.document_question).isEnabled = document != null
        drawWork()
        view<MessageList>(R.id.document_answers).show(rows())
        val problem = if (bundle == null) missing() else work.problem
        view<BannerView>(R.id.document_banner)
            .show(problem?.let { BannerView.Banner("problem", it, error = true, actions = emptyList()) })
    }

    private fun missing() = getString(R.string.bundles_not_found, intent.getStringExtra(BUNDLE).orEmpty())

    private fun about(document: OpenedDocument.Text?, bundle: ModelBundle?): String {
        if (bundle == null) return ""
        val size = number(bundle.manifest.context)
        if (work.reading) {
            val name = work.uri?.lastPathSegment.orEmpty().substringAfterLast('/')
            return getString(R.string.document_reading, name)
        }
        if (document == null) return getString(R.string.document_none_about, size)
        val count = if (document.tokens.exact) R.string.document_tokens else R.string.document_tokens_about
        val tokens = getString(count, number(document.tokens.tokens), size)
        if (work.talk.turns.isNotEmpty()) return tokens
        val speed = app.speeds[bundle.folder.name] ?: return "$tokens ${getString(R.string.document_time_unknown)}"
        val time = duration((document.tokens.tokens / speed).toLong() + 1)
        val rate = "%.0f".format(resources.configuration.locales[0], speed)
        return "$tokens ${getString(R.string.document_time, time, rate)}"
    }

    private fun drawWork() {
        val line = if (mine()) status.describe(models.state) else null
        view<View>(R.id.document_work).visibility = if (line == null) View.GONE else View.VISIBLE
        if (line == null) return
        view<TextView>(R.id.document_status).apply { if (text.toString() != line.text) text = line.text }
        view<ProgressBar>(R.id.document_bar).apply {
            isIndeterminate = line.percent == null
            progress = line.percent ?: 0
        }
    }

    private fun rows(): List<MessageList.Row> {
        val rows = work.talk.messages.map { message ->
            if (message.role == Role.USER) {
                MessageList.Row.User(message, editable = false)
            } else {
                row(message, live = false)
            }
        }
        val text = (models.state as? ModelHost.State.Working)?.takeIf { mine() }?.text
        return if (text.isNullOrEmpty()) rows else rows + row(message(Role.ASSISTANT, text), live = true)
    }

    private fun row(message: ChatMessage, live: Boolean) = MessageList.Row.Model(
        message,
        live,
        end = if (live) null else texts.end(message),
        statistics = message.statistics?.let(texts::line),
        again = false,
        goOn = false,
    )

    override fun onCopy(message: ChatMessage) =
        getSystemService(ClipboardManager::class.java).setPrimaryClip(ClipData.newPlainText(title, message.text))

    override fun onEdit(message: ChatMessage) = Unit

    override fun onAgain() = Unit

    override fun onGoOn() = Unit

    override fun onStatistics(message: ChatMessage) = statisticsDialog(message, texts)

    override fun onEarlier() = Unit

    override fun onEnd(visible: Boolean) = Unit

    private fun enable(view: View, yes: Boolean) {
        view.isEnabled = yes
        view.alpha = if (yes) 1f else DISABLED
    }

    private fun <T : View> view(id: Int): T = requireViewById(id)

    companion object {
        private const val BUNDLE = "bundle"
        private const val URI = "uri"
        private const val OPEN = 1
        private const val DISABLED = 0.5f

        fun intent(context: Context, bundle: String): Intent =
            Intent(context, DocumentActivity::class.java).putExtra(BUNDLE, bundle)
    }
}
