package org.mlpexport.demo

import android.content.Context
import org.mlpexport.core.Manifest

/** All that a manifest says, for those who want to know. */
class BundleDetails(private val context: Context) {
    /** [packedBytes]: what the runtime keeps of the packed weights beside the bundle. */
    fun text(entry: BundleEntry.Usable, packedBytes: Long): String {
        val manifest = entry.bundle.manifest
        val model = manifest.model
        val backend = manifest.backend
        return listOf(
            R.string.bundle_details_model to listOfNotNull(model.id, model.revision).joinToString(" @ "),
            R.string.bundle_details_parameters to parameters(model.parameters),
            R.string.bundle_details_weights to manifest.quantizationScheme,
            R.string.bundle_details_backend to listOfNotNull(backend.name, backend.target).joinToString(", "),
            R.string.bundle_details_runtime to versions(backend.minRuntime),
            R.string.bundle_details_context to context.number(manifest.context),
            R.string.bundle_details_memory to context.size(manifest.deviceRamBytes),
            R.string.bundle_details_cache to context.size(manifest.kvCacheBytes + manifest.kvScaleBytes),
            R.string.bundle_details_size to context.size(manifest.files.values.sumOf { it.bytes }),
            R.string.bundle_details_packed to if (packedBytes > 0) context.size(packedBytes) else "",
            R.string.bundle_details_exporter to manifest.exporter?.let { "${it.name} ${it.version}" }.orEmpty(),
            R.string.bundle_details_chat to chatTemplate(context, manifest),
            R.string.bundle_details_source to context.getString(source(entry.source)),
            R.string.bundle_details_folder to entry.folder.path,
            R.string.bundle_details_verification to checks(entry),
        ).filter { it.second.isNotEmpty() }.joinToString("\n\n") { "${context.getString(it.first)}\n${it.second}" }
    }

    private fun versions(versions: Map<String, String>) = versions.entries.joinToString { "${it.key} ${it.value}" }

    private fun parameters(count: Long): String {
        val locale = context.resources.configuration.locales[0]
        return if (count < BILLION) "%.0f M".format(locale, count / 1e6) else "%.2f B".format(locale, count / 1e9)
    }

    private fun checks(entry: BundleEntry.Usable): String {
        val verification = entry.bundle.manifest.verification
            ?: return context.getString(R.string.bundle_not_verified)
        return verification.checks.joinToString("\n") {
            val outcome = if (it.passed) R.string.bundle_check_passed else R.string.bundle_check_failed
            "${it.name}: ${context.getString(outcome)}. ${it.detail}"
        }
    }

    companion object {
        private const val BILLION = 1_000_000_000L

        /** How much of the checkpoint's chat template the bundle carries, and what it does not: the export's sentences. */
        fun chatTemplate(context: Context, manifest: Manifest): String {
            val limits = manifest.chatLimits
            val carried = if (manifest.chat == null) {
                if (limits.isEmpty()) R.string.bundle_chat_no_template else R.string.bundle_chat_none
            } else {
                if (limits.isEmpty()) R.string.bundle_chat_whole else R.string.bundle_chat_in_part
            }
            return (listOf(context.getString(carried)) + limits).joinToString("\n")
        }

        /** How the bundle came onto this phone. */
        fun source(source: BundleSource): Int = when (source) {
            BundleSource.IMPORTED -> R.string.bundle_source_imported
            BundleSource.FILES -> R.string.bundle_source_files
            BundleSource.PUSHED -> R.string.bundle_source_pushed
        }
    }
}
