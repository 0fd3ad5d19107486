package org.mlpexport.demo

import android.content.Context
import org.mlpexport.core.Device
import org.mlpexport.demo.engine.PackedWeights
import java.io.File

/** Everything about bundles that outlives screens. */
class BundleServices(
    context: Context,
    roots: List<BundleRoot>,
    packedWeights: PackedWeights,
    device: () -> Device,
) {
    private val ledger = HashLedger(File(context.filesDir, "checked.json"))
    val repository = BundleRepository(roots, ledger)
    val library = BundleLibrary(
        repository,
        ledger,
        BundleImporter(roots.first { it.source == BundleSource.IMPORTED }.folder, ledger),
        device,
        packedWeights,
    )
    val licenses = Licenses(context.getSharedPreferences("licenses", Context.MODE_PRIVATE))

    companion object {
        /** The app's own folder, its folder on shared storage, and where `mlp-export push` puts bundles. */
        fun roots(context: Context): List<BundleRoot> = listOfNotNull(
            BundleRoot(BundleSource.IMPORTED, File(context.filesDir, "bundles")),
            context.getExternalFilesDir("bundles")?.let { BundleRoot(BundleSource.FILES, it) },
            BundleRoot(BundleSource.PUSHED, File("/data/local/tmp/mlp-export")),
        )
    }
}
