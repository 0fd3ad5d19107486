package org.mlpexport.demo

import android.content.ClipData
import android.content.ClipboardManager
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.view.View
import android.view.inputmethod.EditorInfo
import android.widget.Button
import android.widget.EditText
import android.widget.PopupMenu
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.Role
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
    private val observers = mutableListOf<Closeable>()

    private var text = ""
    private var tag = ""
    private var model: String? = null

    // What waits for the files' check or the license.
    private var wanted: Task? = null
    private var asking = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        tag = savedInstanceState?.getString(TAG) ?: "task/${UUID.randomUUID()}"
        model = savedInstanceState?.getString(MODEL)
        wanted = savedInstanceState?.getString(WANTED)?.let(Task::valueOf)
        val selected = intent.getCharSequenceExtra(Intent.EXTRA_PROCESS_TEXT)
        text = (selected ?: intent.getCharSequenceExtra(Intent.EXTRA_TEXT))?.toString().orEmpty()
        show(R.layout.activity_task)
        title = getString(R.string.task_title)
        view<TextView>(R.id.task_source).text = text
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
    }

    override fun onStart() {
        super.onStart()
        observers += library.observe { draw() }
        observers += models.observe { draw() }
        library.refresh()
    }

    override fun onStop() {
        observers.forEach(Closeable::close)
        observers.clear()
        super.onStop()
    }

    override fun onDestroy() {
        // Nobody would see the rest of the answer.
        if (isFinishing && models.request?.tag == tag) models.stop()
        super.onDestroy()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(TAG, tag)
        outState.putString(MODEL, model)
        outState.putString(WANTED, wanted?.name)
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
        if (snapshot.items == null || asking) return
        val item = item(snapshot)
        val bundle = (item?.entry as? BundleEntry.Usable)?.bundle
        when {
            item == null || bundle == null -> refuse(getString(R.string.task_no_model))
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
        if (text.isBlank()) problem(getString(R.string.task_no_text))
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
            is ModelHost.State.Done -> state.answer.text.trim()
            is ModelHost.State.Failed -> state.text
            else -> ""
        }
        val done = state as? ModelHost.State.Done
        if (state is ModelHost.State.Failed) problem(sentence(state.problem))
        if (done != null && shown.isEmpty()) problem(getString(R.string.answer_empty))
        view<View>(R.id.task_answer).visibility = if (shown.isEmpty()) View.GONE else View.VISIBLE
        view<TextView>(R.id.task_result).apply { if (text.toString() != shown) text = shown }
        view<TextView>(R.id.task_statistics).apply {
            visibility = if (done == null) View.GONE else View.VISIBLE
            text = done?.let { ended ->
                val message = ChatMessage("", Role.ASSISTANT, shown, 0, ended.answer.end, ended.answer.statistics)
                listOfNotNull(texts.end(message), texts.line(ended.answer.statistics)).joinToString("\n")
            }
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

    private fun result() = view<TextView>(R.id.task_result).text.toString()

    private fun copy() {
        getSystemService(ClipboardManager::class.java).setPrimaryClip(ClipData.newPlainText(title, result()))
        // Since Android 13 the system shows what was copied.
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) {
            Toast.makeText(this, R.string.task_copied, Toast.LENGTH_SHORT).show()
        }
    }

    private fun share() {
        val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, result())
        startActivity(Intent.createChooser(send, null))
    }

    private fun replace() {
        setResult(RESULT_OK, Intent().putExtra(Intent.EXTRA_PROCESS_TEXT, result()))
        finish()
    }

    private fun <T : View> view(id: Int): T = requireViewById(id)

    private companion object {
        const val TAG = "tag"
        const val MODEL = "model"
        const val WANTED = "wanted"
        const val LICENSE = 1
        const val DISABLED = 0.5f
        val ACTIONS =
            listOf(R.id.task_summarize, R.id.task_shorter, R.id.task_formal, R.id.task_friendlier, R.id.task_ask)
    }
}
