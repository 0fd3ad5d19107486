package org.mlpexport.demo

import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.view.LayoutInflater
import android.view.Menu
import android.view.MenuItem
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.PopupMenu
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import java.io.Closeable
import java.util.concurrent.CancellationException

/**
 * The first screen: the bundles on this phone, what each is, whether it runs here and if not why not. From a shell,
 * `am start -n org.mlpexport.demo/.BundlesActivity --es bundle NAME` opens that bundle's chat.
 */
class BundlesActivity : Screen() {
    private enum class Target { CHAT, DOCUMENT }

    private val library get() = app.library
    private var observer: Closeable? = null
    private var dialog: AlertDialog? = null
    private val cards = mutableMapOf<String, BundleCard>()
    private var drawn: BundleLibrary.Snapshot? = null

    // What is to be opened as soon as its files are checked and its license is accepted.
    private var wanted: String? = null
    private var target = Target.CHAT

    // A second tap before the next screen is there does nothing.
    private var leaving = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        show(R.layout.activity_bundles, back = false)
        title = getString(R.string.bundles_title)
        if (savedInstanceState == null) {
            wanted = intent.getStringExtra(BUNDLE)
        } else {
            wanted = savedInstanceState.getString(WANTED)
            target = Target.entries[savedInstanceState.getInt(TARGET)]
            leaving = savedInstanceState.getBoolean(LEAVING)
        }
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        intent.getStringExtra(BUNDLE)?.let { open(it, Target.CHAT) }
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(WANTED, wanted)
        outState.putInt(TARGET, target.ordinal)
        outState.putBoolean(LEAVING, leaving)
    }

    override fun onStart() {
        super.onStart()
        observer = library.observe(::draw)
    }

    override fun onResume() {
        super.onResume()
        leaving = false
        openWanted()
        library.refresh()
    }

    override fun onStop() {
        observer?.close()
        super.onStop()
    }

    override fun onDestroy() {
        dialog?.dismiss()
        super.onDestroy()
    }

    override fun onCreateOptionsMenu(menu: Menu): Boolean {
        menuInflater.inflate(R.menu.bundles, menu)
        return true
    }

    override fun onOptionsItemSelected(item: MenuItem): Boolean {
        when (item.itemId) {
            R.id.menu_conversations -> leave(ConversationsActivity.intent(this))
            R.id.menu_import_folder -> pickFolder()
            R.id.menu_import_files -> pickFiles()
            R.id.menu_software -> say(R.string.bundles_software, software())
            else -> return super.onOptionsItemSelected(item)
        }
        return true
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        if (requestCode == LICENSE) {
            if (resultCode == RESULT_OK) openWanted() else wanted = null
            return
        }
        if (resultCode != RESULT_OK || data == null) return
        val files = PickedFiles(contentResolver)
        val tree = data.data
        when (requestCode) {
            FOLDER -> if (tree != null) import(tree) { files.folder(tree) }
            FILES -> {
                val clip = data.clipData
                val uris = clip?.run { (0 until itemCount).map { getItemAt(it).uri } } ?: listOfNotNull(tree)
                if (uris.isNotEmpty()) import(uris[0]) { files.files(uris) }
            }
        }
    }

    private fun import(uri: Uri, source: () -> ImportSource) {
        // "primary:Download/demo" is the end of a folder's address; its real name is asked for in the background.
        val name = uri.lastPathSegment.orEmpty().substringAfterLast('/').substringAfterLast(':')
        library.import(name, source)
    }

    private fun pickFolder() = pick(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), FOLDER)

    private fun pickFiles() = pick(
        Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*")
            .putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true),
        FILES,
    )

    private fun pick(intent: Intent, request: Int) {
        if (leaving || library.snapshot.importing != null) return
        try {
            leaving = true
            startActivityForResult(intent, request)
        } catch (_: ActivityNotFoundException) {
            leaving = false
            say(R.string.bundles_import_failed, getString(R.string.bundles_no_picker))
        }
    }

    private fun draw(snapshot: BundleLibrary.Snapshot) {
        val before = drawn
        drawn = snapshot
        // Progress comes often: it changes its own views, so that nothing jumps under a finger or a screen reader.
        if (before?.layout() != snapshot.layout()) drawList(snapshot)
        cards.forEach { (name, card) -> card.showCheck(snapshot.checking?.takeIf { it.name == name }) }
        snapshot.importing?.let(::showImport)
        snapshot.imported?.let(::showImported)
        openWanted()
    }

    /** What decides which views there are. */
    private fun BundleLibrary.Snapshot.layout() =
        copy(checking = null, importing = importing?.copy(done = 0, total = 0), imported = null)

    private fun drawList(snapshot: BundleLibrary.Snapshot) {
        val list = requireViewById<ViewGroup>(R.id.bundles)
        list.removeAllViews()
        cards.clear()
        val items = snapshot.items
        add(list, R.layout.bundles_phone).requireViewById<TextView>(R.id.phone).text = phone(snapshot)
        snapshot.unreadable.forEach {
            add(list, R.layout.bundles_notice).requireViewById<TextView>(R.id.notice).text =
                getString(R.string.bundles_unreadable, it.path)
        }
        if (snapshot.importing != null) {
            add(list, R.layout.bundles_import).requireViewById<Button>(R.id.import_cancel)
                .setOnClickListener { library.cancelImport() }
        }
        if (items != null && items.isEmpty() && snapshot.importing == null) {
            add(list, R.layout.bundles_empty).requireViewById<Button>(R.id.empty_import)
                .setOnClickListener { pickFolder() }
        }
        items.orEmpty().forEach { item ->
            val card = BundleCard(list, item)
            card.chat.setOnClickListener { open(item.entry.name, Target.CHAT) }
            card.document.setOnClickListener { open(item.entry.name, Target.DOCUMENT) }
            card.more.setOnClickListener { showMenu(it, item) }
            cards[item.entry.name] = card
            list.addView(card.view)
        }
    }

    private fun add(list: ViewGroup, layout: Int): View =
        LayoutInflater.from(this).inflate(layout, list, false).also(list::addView)

    private fun phone(snapshot: BundleLibrary.Snapshot): String {
        val device = snapshot.device ?: return getString(R.string.bundles_looking)
        return getString(
            R.string.bundles_phone,
            device.socModel?.let(::chipName) ?: getString(R.string.bundles_phone_unknown),
            size(device.totalMemoryBytes),
            size(device.availableMemoryBytes),
            device.runtimes[DeviceInfo.EXECUTORCH] ?: getString(R.string.bundles_version_unknown),
        )
    }

    private fun showImport(progress: BundleLibrary.Progress) {
        requireViewById<TextView>(R.id.import_title).text = getString(R.string.bundles_importing, progress.name)
        requireViewById<ProgressBar>(R.id.import_bar).apply {
            isIndeterminate = progress.total == 0L
            this.progress = progress.percent
        }
        requireViewById<TextView>(R.id.import_bytes).text = if (progress.total == 0L) {
            ""
        } else {
            getString(R.string.bundles_import_progress, size(progress.done), size(progress.total))
        }
    }

    private fun showImported(imported: BundleLibrary.Imported) {
        library.forgetImport()
        when (val problem = imported.problem) {
            null -> toast(getString(R.string.bundles_imported, imported.name))
            is CancellationException -> toast(getString(R.string.bundles_import_cancelled))
            else -> say(R.string.bundles_import_failed, sentence(problem))
        }
    }

    private fun open(name: String, target: Target) {
        if (leaving) return
        wanted = name
        this.target = target
        openWanted()
    }

    /** Goes on with what is wanted as far as it gets: found, fit, checked, licensed, open. */
    private fun openWanted() {
        val name = wanted ?: return
        val items = library.snapshot.items
        if (items == null || leaving) return
        val item = library.snapshot.item(name)
        val bundle = (item?.entry as? BundleEntry.Usable)?.bundle
        when {
            item == null -> refuse(R.string.bundles_broken, getString(R.string.bundles_not_found, name))
            !item.canOpen || bundle == null -> refuse(R.string.bundles_runs_not, reasons(item))
            !item.isChecked -> Unit // the check is on its way, and comes back here
            !app.licenses.accepted(bundle) -> {
                leaving = true
                startActivityForResult(LicenseActivity.intent(this, name), LICENSE)
            }
            else -> {
                wanted = null
                app.choice.used(name)
                val chat = target == Target.CHAT
                leave(if (chat) ChatActivity.intent(this, name) else DocumentActivity.intent(this, name))
            }
        }
    }

    private fun refuse(title: Int, text: String) {
        wanted = null
        say(title, text)
    }

    private fun reasons(item: BundleLibrary.Item): String = when (val entry = item.entry) {
        is BundleEntry.Broken -> sentence(entry.problem, entry.detail)
        is BundleEntry.Usable -> {
            val wrong = entry.hashes as? HashState.Wrong
            if (wrong != null) {
                getString(R.string.problem_wrong_hash, wrong.file)
            } else {
                item.fit?.reasons.orEmpty().joinToString("\n\n") { sentence(it) }
            }
        }
    }

    private fun showMenu(anchor: View, item: BundleLibrary.Item) {
        val popup = PopupMenu(this, anchor)
        val usable = item.entry as? BundleEntry.Usable
        if (usable != null) {
            popup.add(R.string.bundles_details) {
                val packed = app.packedWeights.bytes(usable.bundle)
                say(BundleCard.title(usable), BundleDetails(this).text(usable, packed))
            }
            popup.add(R.string.bundles_license) { leave(LicenseActivity.intent(this, usable.name)) }
            popup.add(R.string.bundles_settings) { leave(SettingsActivity.intent(this, usable.name)) }
        }
        popup.add(R.string.bundles_delete) { askToDelete(item.entry) }
        popup.show()
    }

    private fun PopupMenu.add(title: Int, action: () -> Unit) {
        menu.add(Menu.NONE, title, Menu.NONE, title).setOnMenuItemClickListener {
            action()
            true
        }
    }

    private fun askToDelete(entry: BundleEntry) {
        val bytes = entry.folder.listFiles().orEmpty().sumOf { it.length() }
        show(
            AlertDialog.Builder(this)
                .setTitle(getString(R.string.bundles_delete_question, BundleCard.title(entry)))
                .setMessage(getString(R.string.bundles_delete_explained, size(bytes)))
                .setNegativeButton(R.string.bundles_cancel, null)
                .setPositiveButton(R.string.bundles_delete) { _, _ -> delete(entry) },
        )
    }

    private fun delete(entry: BundleEntry) {
        (entry as? BundleEntry.Usable)?.let { app.models.unload(it.bundle) }
        val name = BundleCard.title(entry)
        val context = applicationContext
        library.delete(entry) { gone ->
            if (gone) {
                app.settings.forget(entry.name)
                Toast.makeText(context, context.getString(R.string.bundles_deleted, name), Toast.LENGTH_SHORT).show()
            } else if (!isDestroyed) {
                say(name, getString(R.string.bundles_delete_failed, name, entry.folder.path))
            }
        }
    }

    private fun software() = assets.open("licenses.txt").bufferedReader().use { it.readText() }

    private fun leave(intent: Intent) {
        if (leaving) return
        leaving = true
        startActivity(intent)
    }

    private fun say(title: Int, text: String) = say(getString(title), text)

    private fun say(title: String, text: CharSequence) =
        show(AlertDialog.Builder(this).setTitle(title).setMessage(text).setPositiveButton(R.string.bundles_ok, null))

    private fun show(builder: AlertDialog.Builder) {
        dialog?.dismiss()
        dialog = builder.show()
    }

    private fun toast(text: String) = Toast.makeText(this, text, Toast.LENGTH_SHORT).show()

    companion object {
        /** Name of a bundle whose chat is to be opened at once. */
        const val BUNDLE = "bundle"
        private const val WANTED = "wanted"
        private const val TARGET = "target"
        private const val LEAVING = "leaving"
        private const val FOLDER = 1
        private const val FILES = 2
        private const val LICENSE = 3
    }
}
