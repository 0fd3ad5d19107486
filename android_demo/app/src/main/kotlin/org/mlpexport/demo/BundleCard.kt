package org.mlpexport.demo

import android.content.Context
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import org.mlpexport.core.Manifest

/** Fills the card of one bundle; what its buttons do is the caller's. */
class BundleCard(parent: ViewGroup, private val item: BundleLibrary.Item) {
    val view: View = LayoutInflater.from(parent.context).inflate(R.layout.bundles_card, parent, false)
    val chat: View = view.requireViewById(R.id.card_chat)
    val document: View = view.requireViewById(R.id.card_document)
    val more: View = view.requireViewById(R.id.card_more)

    private val context: Context = parent.context
    private val sentences: ViewGroup = view.requireViewById(R.id.card_sentences)

    init {
        when (val entry = item.entry) {
            is BundleEntry.Usable -> usable(entry)
            is BundleEntry.Broken -> broken(entry)
        }
        more.contentDescription = context.getString(R.string.bundles_more, title(item.entry))
    }

    /** Shows how far the check of this bundle's files is; null: it is not being checked. */
    fun showCheck(progress: BundleLibrary.Progress?) {
        val text = view.requireViewById<TextView>(R.id.card_check)
        val bar = view.requireViewById<ProgressBar>(R.id.card_check_bar)
        val entry = item.entry as? BundleEntry.Usable
        val unchecked = entry?.hashes == HashState.Unchecked
        text.visibility = if (unchecked) View.VISIBLE else View.GONE
        bar.visibility = if (unchecked && progress != null) View.VISIBLE else View.GONE
        bar.progress = progress?.percent ?: 0
        text.text = if (progress == null) {
            context.getString(R.string.bundles_unchecked)
        } else {
            context.getString(R.string.bundles_checking, progress.percent)
        }
    }

    private fun usable(entry: BundleEntry.Usable) {
        val manifest = entry.bundle.manifest
        text(R.id.card_title).text = title(entry)
        text(R.id.card_subtitle).text = subtitle(manifest)
        chip(backend(manifest))
        chip(context.size(manifest.files.values.sumOf { it.bytes }))
        chip(
            context.resources.getQuantityString(
                R.plurals.bundle_context,
                manifest.context,
                context.number(manifest.context),
            ),
        )
        chip(manifest.quantizationScheme)
        val verified = manifest.verification?.passed == true
        chip(context.getString(if (verified) R.string.bundle_verified else R.string.bundle_not_verified))
        val fit = item.fit
        val wrong = entry.hashes as? HashState.Wrong
        when {
            wrong != null -> {
                sentence(R.drawable.ic_error_circle, context.getString(R.string.bundles_broken), emphasised = true)
                sentence(0, context.getString(R.string.problem_wrong_hash, wrong.file))
            }
            fit != null && !fit.runs -> {
                sentence(R.drawable.ic_error_circle, context.getString(R.string.bundles_runs_not), emphasised = true)
                fit.reasons.forEach { sentence(0, context.sentence(it)) }
            }
            else -> sentence(R.drawable.ic_check_circle, context.getString(R.string.bundles_runs))
        }
        fit?.warnings?.forEach { sentence(R.drawable.ic_warning, context.sentence(it)) }
        if (manifest.chat == null) sentence(R.drawable.ic_warning, BundleDetails.chatTemplate(context, manifest))
        view.requireViewById<View>(R.id.card_actions).visibility = if (item.canOpen) View.VISIBLE else View.GONE
    }

    private fun broken(entry: BundleEntry.Broken) {
        text(R.id.card_title).text = entry.name
        text(R.id.card_subtitle).text = context.getString(BundleDetails.source(entry.source))
        view.requireViewById<View>(R.id.card_chips).visibility = View.GONE
        view.requireViewById<View>(R.id.card_actions).visibility = View.GONE
        sentence(R.drawable.ic_error_circle, context.getString(R.string.bundles_broken), emphasised = true)
        sentence(0, context.sentence(entry.problem, entry.detail))
    }

    private fun subtitle(manifest: Manifest): String {
        val license = manifest.model.license ?: context.getString(R.string.bundle_license_none)
        val owner = manifest.model.id.substringBeforeLast('/', "")
        return listOf(owner, license).filter { it.isNotEmpty() }.joinToString(" · ")
    }

    private fun backend(manifest: Manifest): String = when (manifest.backend.name) {
        "xnnpack" -> context.getString(R.string.bundle_backend_cpu)
        "qnn" -> context.getString(R.string.bundle_backend_npu, chipName(manifest.backend.target.orEmpty()))
        else -> manifest.backend.name
    }

    private fun chip(text: String) {
        val chips = view.requireViewById<ViewGroup>(R.id.card_chips)
        chips.addView(TextView(context, null, 0, R.style.Card_Chip).apply { this.text = text })
    }

    private fun sentence(icon: Int, text: String, emphasised: Boolean = false) {
        val line = LayoutInflater.from(context).inflate(R.layout.bundles_sentence, sentences, false)
        line.requireViewById<ImageView>(R.id.sentence_icon).setImageResource(icon)
        line.requireViewById<TextView>(R.id.sentence).apply {
            this.text = text
            if (emphasised) setTextAppearance(R.style.Text_Label)
        }
        sentences.addView(line)
    }

    private fun text(id: Int) = view.requireViewById<TextView>(id)

    companion object {
        /** The model's name without its owner; the folder's name where there is no manifest. */
        fun title(entry: BundleEntry): String = when (entry) {
            is BundleEntry.Usable -> entry.bundle.manifest.model.id.substringAfterLast('/')
            is BundleEntry.Broken -> entry.name
        }
    }
}
