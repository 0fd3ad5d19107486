package org.mlpexport.demo

import java.io.File
import org.mlpexport.core.Bundle

/** The app as it is, with the real engine, on a copy of the real bundle; on a phone whose ABI is this machine's. */
class RealApplication : MlpApplication() {
    val bundle: Bundle by lazy {
        File(checkNotNull(System.getProperty("bundle"))).copyRecursively(File(root, BUNDLE))
        Bundle.open(File(root, BUNDLE))
    }
    private val root by lazy { File(filesDir, "bundles") }

    /** Robolectric installs no libraries: they are where the JVM looks for them. */
    override fun onCreate() {
        applicationInfo.nativeLibraryDir = checkNotNull(System.getProperty("java.library.path"))
        super.onCreate()
    }

    override fun bundleRoots() = listOf(BundleRoot(BundleSource.IMPORTED, root))

    override fun conversationsFolder() =
        System.getProperty(STORE)?.let(::File) ?: super.conversationsFolder()

    /** Robolectric's phone has an Arm CPU and no memory. */
    override fun device() = super.device().copy(
        abis = listOf("x86_64"),
        totalMemoryBytes = 8_000_000_000,
        availableMemoryBytes = 4_000_000_000,
    )

    companion object {
        const val BUNDLE = "smollm2"

        /** Property: the folder of conversations, for a process that is killed and the one after it. */
        const val STORE = "conversations"
    }
}
