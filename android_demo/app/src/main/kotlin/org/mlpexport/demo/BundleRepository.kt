package org.mlpexport.demo

import org.mlpexport.core.Bundle
import org.mlpexport.core.BundleException
import org.mlpexport.core.BundleProblem
import java.io.File
import java.io.IOException
import java.nio.file.Files

/** Where a bundle came from, in the order in which a name that stands twice is resolved. */
enum class BundleSource { IMPORTED, FILES, PUSHED }

/** A folder whose subfolders are bundles. */
data class BundleRoot(val source: BundleSource, val folder: File)

/** One folder that is, or should be, a bundle. */
sealed interface BundleEntry {
    val name: String
    val source: BundleSource
    val folder: File

    data class Usable(
        override val source: BundleSource,
        val bundle: Bundle,
        val hashes: HashState,
    ) : BundleEntry {
        override val name get() = bundle.folder.name
        override val folder get() = bundle.folder
    }

    data class Broken(
        override val source: BundleSource,
        override val folder: File,
        val problem: BundleProblem,
        val detail: String,
    ) : BundleEntry {
        override val name get() = folder.name
    }
}

/** The bundles on this phone. Every call looks at the storage anew, so that what was deleted outside is gone here. */
class BundleRepository(
    private val roots: List<BundleRoot>,
    private val ledger: HashLedger,
    private val unlink: (File) -> Boolean = File::delete,
) {

    /** All bundles by name, unusable ones last; of two with one name the usable one, and then the first root's. */
    fun list(): List<BundleEntry> = roots
        .flatMap { root -> folders(root.folder).map { entry(root.source, it) } }
        .sortedBy { it is BundleEntry.Broken }
        .distinctBy { it.name }
        .sortedWith(compareBy({ it is BundleEntry.Broken }, { it.name.lowercase() }))

    /** The bundle of that name, null if there is none that can be opened. */
    fun find(name: String): Bundle? = (entry(name) as? BundleEntry.Usable)?.bundle

    fun entry(name: String): BundleEntry? = roots
        .flatMap { root -> folders(root.folder).filter { it.name == name }.map { entry(root.source, it) } }
        .sortedBy { it is BundleEntry.Broken }
        .firstOrNull()

    /** Folders that exist and cannot be listed: no permission, or storage that was taken out. */
    fun unreadable(): List<File> = roots.map { it.folder }.filter { it.exists() && it.listFiles() == null }

    /** Deletes a bundle; false if files of it are still there, as in a folder that belongs to adb. */
    fun delete(entry: BundleEntry): Boolean {
        // The manifest goes first: a folder that is half deleted is then no bundle.
        unlink(File(entry.folder, MANIFEST))
        val gone = deleteTree(entry.folder, unlink)
        if (gone) ledger.forget(entry.folder) // what is still there is still known
        return gone
    }

    /** Removes what an import that was killed left behind. */
    fun deletePartialImports() = roots.filter { it.source == BundleSource.IMPORTED }
        .flatMap { it.folder.listFiles().orEmpty().toList() }
        .filter { it.name.endsWith(PARTIAL) }
        .forEach { deleteTree(it) }

    private fun folders(root: File): List<File> = root.listFiles().orEmpty()
        .filter { it.isDirectory && !it.name.endsWith(PARTIAL) && !it.name.startsWith(".") }

    private fun entry(source: BundleSource, folder: File): BundleEntry = try {
        if (Files.isSymbolicLink(folder.toPath())) {
            throw BundleException(BundleProblem.SYMBOLIC_LINK, folder.name)
        }
        val bundle = Bundle.open(folder)
        BundleEntry.Usable(source, bundle, ledger.state(bundle))
    } catch (e: BundleException) {
        BundleEntry.Broken(source, folder, e.problem, e.detail)
    } catch (e: IOException) {
        BundleEntry.Broken(source, folder, BundleProblem.UNREADABLE, e.message ?: folder.name)
    }

    companion object {
        const val MANIFEST = "manifest.json"
        const val PARTIAL = ".partial"
    }
}

/** Deletes a folder and what is in it, but never follows a symbolic link out of it. */
internal fun deleteTree(folder: File, unlink: (File) -> Boolean = File::delete): Boolean {
    if (!Files.isSymbolicLink(folder.toPath())) folder.listFiles().orEmpty().forEach { deleteTree(it, unlink) }
    return unlink(folder) || !folder.exists()
}
