package org.mlpexport.demo

import org.mlpexport.core.Device
import java.io.File

/** The application on a phone that the test chooses, with folders of its own. */
class BundleTestApplication : MlpApplication() {
    @Volatile var phone: Device = TestBundles.S24

    val imported by lazy { File(filesDir, "bundles").apply { mkdirs() } }
    val pushed by lazy { File(cacheDir, "pushed").apply { mkdirs() } }

    override fun loader() = ModelLoader { error("no model in this test") }

    override fun device() = phone

    override fun bundleRoots() =
        listOf(BundleRoot(BundleSource.IMPORTED, imported), BundleRoot(BundleSource.PUSHED, pushed))
}
