package org.mlpexport.demo

import android.content.ClipData
import android.content.ClipboardManager
import android.content.ContentResolver
import android.content.Intent
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.os.Parcelable
import android.view.View
import android.view.inputmethod.EditorInfo
import android.widget.Button
import android.widget.EditText
import android.widget.PopupMenu
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import org.mlpexport.core.Answer
import org.mlpexport.core.Bundle as ModelBundle
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.Role
import org.mlpexport.core.TextDocument
import java.io.Closeable
import java.util.UUID

/**
 * Ask, rewrite or summarize text that was selected in another app (the result goes back there if that app allows it) or
 * shared with this one.
 */
class TaskActivity : Screen() {
    private val library get() = app.library
    private val models get() = app.models
    private val status by lazy { WorkStatus(this, app.speeds) }
    private val texts by lazy { ConversationTexts(this) }
    private lateinit var following: Closeable
    private var watching: Closeable? = null // while the screen is seen

    private var text = ""
    private var tag = ""
    private var model: String? = null

    // The file that was shared, while it is read, and why it gave no text.
    private var reading = false
    private var unread: String? = null

    // The answer, kept apart from the model's state: another request takes its place there.
    private var result: Result? = null

    /** [about]: how it ended, and statistics. */
    private class Result(val text: String, val about: String)

    // What waits for the files' check or the license.
    private var wanted: Task? = null
    private var asking = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        tag = savedInstanceState?.getString(TAG) ?: "task/${UUID.randomUUID()}"
        model = savedInstanceState?.getString(MODEL)
        wanted = savedInstanceState?.getString(WANTED)?.let(Task::valueOf)
        asking = savedInstanceState?.getBoolean(ASKING) ?: false
        result = savedInstanceState?.getString(RESULT)
            ?.let { Result(it, savedInstanceState.getString(ABOUT).orEmpty()) }
        val selected = intent.getCharSequenceExtra(Intent.EXTRA_PROCESS_TEXT)
        text = (selected ?: intent.getCharSequenceExtra(Intent.EXTRA_TEXT))?.toString().orEmpty()
        show(R.layout.activity_task)
        title = getString(R.string.task_title)
        view<TextView>(R.id.task_source).text = text
        if (text.isBlank()) sharedFile()?.let(::read)
        mapOf(
            R.id.task_summarize to Task.SUMMARIZE,
            R.id.task_shorter to Task.SHORTER,
            R.id.task_formal to Task.FORMAL,
            R.id.task_friendlier to Task.FRIENDLIER,
        ).forEach { (id, task) -> view<Button>(id).setOnClickListener { start(task) } }
        view<View>(R.id.task_ask).setOnClickListener { ask() }
        view<EditText>(R.id.task_question).setOnEditorActionListener { _, action, _ ->
            if (action == EditorInfo.IME_ACTION_SEND) ask()
            action == EditorInfo.IME_ACTION_SEND
        }
        view<View>(R.id.task_stop).setOnClickListener { stop() }
        view<View>(R.id.task_copy).setOnClickListener { copy() }
        view<View>(R.id.task_share).setOnClickListener { share() }
        view<View>(R.id.task_replace).setOnClickListener { replace() }
        view<View>(R.id.task_model).setOnClickListener(::chooseModel)
        following = models.observe(::onState)
    }

    /** Only what another app gives: a path could be one of this app's own files. */
    @Suppress("DEPRECATION") // the typed getter is of Android 13
    private fun sharedFile(): Uri? = intent.getParcelableExtra<Parcelable>(Intent.EXTRA_STREAM)
        .let { it as? Uri }?.takeIf { it.scheme == ContentResolver.SCHEME_CONTENT }

    private fun read(uri: Uri) {
        reading = true
        val source = view<TextView>(R.id.task_source)
        source.text = getString(R.string.document_reading, uri.lastPathSegment.orEmpty().substringAfterLast('/'))
        val reader = TextFileReader(applicationContext)
        app.background.execute {
            val file = reader.read(uri, Int.MAX_VALUE)
            mainExecutor.execute {
                reading = false
                text = (file as? TextFile.Text)?.text.orEmpty()
                unread = (file as? TextFile.Refused)?.sentence
                source.text = text.take(SHOWN)
                if (watching != null) draw()
            }
        }
    }

    private fun onState(state: ModelHost.State) {
        if (models.request?.tag == tag) {
            if (state is ModelHost.State.Loading) result = null
            if (state is ModelHost.State.Done) result = result(state.answer)
        }
        if (watching != null) draw()
    }

    private fun result(answer: Answer): Result {
        val text = answer.text.trim()
        val message = ChatMessage("", Role.ASSISTANT, text, 0, answer.end, answer.statistics)
        return Result(text, listOfNotNull(texts.end(message), texts.line(answer.statistics)).joinToString("\n"))
    }

    override fun onStart() {
        super.onStart()
        watching = library.observe { draw() }
        library.refresh()
    }

    override fun onStop() {
        watching?.close()
        watching = null
        super.onStop()
    }

    override fun onDestroy() {
        following.close()
        // Nobody would see the rest of the answer.
        if (isFinishing && models.request?.tag == tag) models.stop()
        super.onDestroy()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(TAG, tag)
        outState.putString(MODEL, model)
        outState.putString(WANTED, wanted?.name)
        outState.putBoolean(ASKING, asking)
        outState.putString(RESULT, result?.text)
        outState.putString(ABOUT, result?.about)
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        asking = false
        if (resultCode != RESULT_OK) wanted = null
        draw()
    }

    private fun ask() {
        if (view<EditText>(R.id.task_question).text.isNotBlank()) start(Task.ASK)
    }

    private fun start(task: Task) {
        if (text.isBlank() || wanted != null || (models.busy && models.request?.tag == tag)) return
        wanted = task
        problem(null)
        draw()
    }

    /** Submits what is wanted as soon as nothing stands in its way. */
    private fun advance(snapshot: BundleLibrary.Snapshot) {
        val task = wanted ?: return
        if (snapshot.items == null || asking || reading) return
        val item = item(snapshot)
        val bundle = (item?.entry as? BundleEntry.Usable)?.bundle
        when {
            text.isBlank() -> wanted = null
            item == null || bundle == null -> refuse(getString(R.string.task_no_model))
            text.length > TextDocument.mostBytes(bundle.manifest.context) -> refuse(tooBig(bundle))
            !item.isChecked -> Unit
            !app.licenses.accepted(bundle) -> {
                asking = true
                startActivityForResult(LicenseActivity.intent(this, item.entry.name), LICENSE)
            }
            else -> {
                wanted = null
                val question = view<EditText>(R.id.task_question).text.toString()
                // Tasks bring their own instruction, so the bundle's system prompt stays out of it.
                val settings = GenerationSettings(maxNewTokens = app.settings[item.entry.name].maxNewTokens)
                app.choice.used(item.entry.name)
                if (!models.submit(ModelHost.Request(bundle, task.turns(text, question), settings, tag))) {
                    problem(getString(R.string.task_busy))
                }
            }
        }
    }

    /** Known before its tokens are counted, which takes memory. */
    private fun tooBig(bundle: ModelBundle) =
        getString(R.string.task_too_big, size(TextDocument.mostBytes(bundle.manifest.context)))

    private fun refuse(sentence: String) {
        wanted = null
        problem(sentence)
    }

    private fun item(snapshot: BundleLibrary.Snapshot) =
        app.choice.candidates(snapshot).find { it.entry.name == model } ?: app.choice.choose(snapshot)

    private fun draw() {
        val snapshot = library.snapshot
        advance(snapshot)
        val item = item(snapshot)
        view<Button>(R.id.task_model).apply {
            visibility = if (snapshot.items == null) View.GONE else View.VISIBLE
            val name = item?.let { BundleCard.title(it.entry) }
            text = if (name == null) getString(R.string.task_models) else getString(R.string.task_model, name)
        }
        if (text.isBlank() && !reading) problem(unread ?: getString(R.string.task_no_text))
        val state = models.state.takeIf { models.request?.tag == tag } ?: ModelHost.State.Idle
        drawWork(snapshot, item, state)
        drawAnswer(state)
        val free = text.isNotBlank() && wanted == null && state !is ModelHost.State.Loading &&
            state !is ModelHost.State.Working
        for (id in ACTIONS) {
            view<View>(id).apply {
                isEnabled = free
                alpha = if (free) 1f else DISABLED
            }
        }
    }

    private fun drawWork(snapshot: BundleLibrary.Snapshot, item: BundleLibrary.Item?, state: ModelHost.State) {
        val line = if (wanted != null && item != null && !item.isChecked) {
            val percent = snapshot.checking?.takeIf { it.name == item.entry.name }?.percent ?: 0
            WorkStatus.Line(getString(R.string.work_checking, percent), percent)
        } else {
            status.describe(state)
        }
        view<View>(R.id.task_work).visibility = if (line == null) View.GONE else View.VISIBLE
        if (line == null) return
        view<TextView>(R.id.task_status).apply { if (text.toString() != line.text) text = line.text }
        view<ProgressBar>(R.id.task_bar).apply {
            isIndeterminate = line.percent == null
            progress = line.percent ?: 0
        }
    }

    private fun drawAnswer(state: ModelHost.State) {
        val shown = when (state) {
            is ModelHost.State.Working -> state.text
            is ModelHost.State.Failed -> state.text
            else -> result?.text.orEmpty()
        }
        val done = result
        if (state is ModelHost.State.Failed) problem(sentence(state.problem))
        if (done != null && shown.isEmpty()) problem(getString(R.string.answer_empty))
        view<View>(R.id.task_answer).visibility = if (shown.isEmpty()) View.GONE else View.VISIBLE
        view<TextView>(R.id.task_result).apply { if (text.toString() != shown) text = shown }
        view<TextView>(R.id.task_statistics).apply {
            visibility = if (done == null) View.GONE else View.VISIBLE
            text = done?.about
        }
        view<View>(R.id.task_actions).visibility = if (done == null) View.GONE else View.VISIBLE
        view<View>(R.id.task_replace).visibility = if (canReplace()) View.VISIBLE else View.GONE
    }

    private fun problem(sentence: String?) {
        view<View>(R.id.task_problem).visibility = if (sentence == null) View.GONE else View.VISIBLE
        val text = view<TextView>(R.id.task_problem_text)
        if (sentence != null && text.text.toString() != sentence) text.text = sentence
    }

    private fun canReplace() = intent.action == Intent.ACTION_PROCESS_TEXT &&
        !intent.getBooleanExtra(Intent.EXTRA_PROCESS_TEXT_READONLY, false)

    private fun chooseModel(anchor: View) {
        val candidates = app.choice.candidates(library.snapshot)
        if (candidates.isEmpty()) {
            startActivity(Intent(this, BundlesActivity::class.java))
            return
        }
        val popup = PopupMenu(this, anchor)
        candidates.forEach { item ->
            popup.menu.add(BundleCard.title(item.entry)).setOnMenuItemClickListener {
                model = item.entry.name
                draw()
                true
            }
        }
        popup.show()
    }

    private fun stop() {
        wanted = null
        if (models.request?.tag == tag) models.stop()
        draw()
    }

    private fun shownResult() = view<TextView>(R.id.task_result).text.toString()

    private fun copy() {
        getSystemService(ClipboardManager::class.java).setPrimaryClip(ClipData.newPlainText(title, shownResult()))
        // Since Android 13 the system shows what was copied.
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) {
            Toast.makeText(this, R.string.task_copied, Toast.LENGTH_SHORT).show()
        }
    }

    private fun share() {
        val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, shownResult())
        startActivity(Intent.createChooser(send, null))
    }

    private fun replace() {
        setResult(RESULT_OK, Intent().putExtra(Intent.EXTRA_PROCESS_TEXT, shownResult()))
        finish()
    }

    private fun <T : View> view(id: Int): T = requireViewById(id)

    private companion object {
        const val TAG = "tag"
        const val MODEL = "model"
        const val WANTED = "wanted"
        const val ASKING = "asking"
        const val RESULT = "result"
        const val ABOUT = "about"
        const val LICENSE = 1
        const val DISABLED = 0.5f

        // Characters of a shared file; laying out megabytes would stop the screen.
        const val SHOWN = 10_000
        val ACTIONS =
            listOf(R.id.task_summarize, R.id.task_shorter, R.id.task_formal, R.id.task_friendlier, R.id.task_ask)
    }
}
