package org.mlpexport.demo

import org.mlpexport.core.Bundle
import org.mlpexport.core.BundleException
import org.mlpexport.core.BundleProblem
import org.mlpexport.core.Manifest
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.security.MessageDigest
import java.util.concurrent.CancellationException

/** A file that the system's picker gave; [bytes] is null where its provider does not say. */
class ImportFile(val name: String, val bytes: Long?, val open: () -> InputStream)

/** What is to be imported: the files of one folder, or files that were picked. [name] is the folder's, or null. */
class ImportSource(val name: String?, val files: List<ImportFile>)

/** The phone has [free] bytes where [needed] are wanted. */
class NoSpaceException(val needed: Long, val free: Long) : IOException("$needed bytes needed, $free free")

/**
 * Copies a bundle into [root]. Only what the manifest names is copied, its size and hash are checked on the way, and
 * the folder gets its name at the end: a bundle that is there is whole.
 */
class BundleImporter(
    private val root: File,
    private val ledger: HashLedger,
    private val freeBytes: () -> Long = { root.usableSpace },
) {
    /**
     * [progress] gets the bytes copied and those of all files, and ends the import by throwing, such as
     * [CancellationException]; nothing stays behind then.
     *
     * @throws BundleException what was picked is no bundle that can be used
     * @throws IOException reading or writing failed, [NoSpaceException] among them
     */
    fun import(source: ImportSource, progress: (Long, Long) -> Unit): Bundle {
        val manifestFile = source.files.find { it.name == BundleRepository.MANIFEST }
            ?: throw BundleException(BundleProblem.NOT_A_BUNDLE, source.name ?: "")
        val manifestBytes = read(manifestFile)
        val manifest = Manifest.parse(manifestBytes.decodeToString())
        val files = manifest.files.map { (name, entry) ->
            val file = source.files.find { it.name == name } ?: throw BundleException(BundleProblem.MISSING_FILE, name)
            if (file.bytes != null && file.bytes != entry.bytes) {
                throw BundleException(BundleProblem.WRONG_SIZE, "$name: ${file.bytes} of ${entry.bytes}")
            }
            Triple(file, entry.bytes, entry.sha256)
        }
        val total = files.sumOf { it.second }
        root.mkdirs()
        freeBytes().let { if (it < total + RESERVE) throw NoSpaceException(total + RESERVE, it) }
        val target = freeName(source.name ?: manifest.model.id.substringAfterLast('/'))
        val partial = File(root, target.name + BundleRepository.PARTIAL)
        deleteTree(partial)
        try {
            if (!partial.mkdirs()) throw IOException("cannot make ${partial.path}")
            var before = 0L
            files.forEach { (file, bytes, sha256) ->
                copy(file, File(partial, file.name), bytes, sha256) { progress(before + it, total) }
                before += bytes
            }
            FileOutputStream(File(partial, BundleRepository.MANIFEST)).use {
                it.write(manifestBytes)
                it.fd.sync()
            }
            if (!partial.renameTo(target)) throw IOException("cannot rename ${partial.path}")
        } catch (e: Throwable) {
            deleteTree(partial)
            throw e
        }
        return Bundle.open(target).also { ledger.record(it, wrong = null) }
    }

    private fun read(file: ImportFile): ByteArray = file.open().use {
        val bytes = it.readAtMost(MAX_MANIFEST_BYTES + 1)
        if (bytes.size > MAX_MANIFEST_BYTES) {
            throw BundleException(BundleProblem.DAMAGED_MANIFEST, "> $MAX_MANIFEST_BYTES bytes")
        }
        bytes
    }

    private fun copy(file: ImportFile, target: File, bytes: Long, sha256: String, progress: (Long) -> Unit) {
        val digest = MessageDigest.getInstance("SHA-256")
        var copied = 0L
        file.open().use { input ->
            FileOutputStream(target).use { output ->
                val buffer = ByteArray(BUFFER)
                while (true) {
                    progress(copied)
                    val n = input.read(buffer)
                    if (n < 0) break
                    copied += n
                    // More than the manifest says is not written: a provider may give without end.
                    if (copied > bytes) break
                    digest.update(buffer, 0, n)
                    output.write(buffer, 0, n)
                }
                output.fd.sync()
            }
        }
        if (copied != bytes) throw BundleException(BundleProblem.WRONG_SIZE, "${file.name}: $copied of $bytes")
        val found = digest.digest().joinToString("") { "%02x".format(it) }
        if (found != sha256) throw BundleException(BundleProblem.WRONG_HASH, file.name)
    }

    /** A folder that is not there yet: letters, digits and `_.-`, with a number if the name is taken. */
    private fun freeName(wanted: String): File {
        val plain = wanted.replace(Regex("[^A-Za-z0-9_.-]+"), "-").trimStart('.', '-')
            .removeSuffix(BundleRepository.PARTIAL).take(MAX_NAME).ifEmpty { "bundle" }
        return generateSequence(1) { it + 1 }
            .map { File(root, if (it == 1) plain else "$plain-$it") }
            .first { !it.exists() }
    }

    private companion object {
        const val BUFFER = 1 shl 18
        const val MAX_NAME = 80
        const val MAX_MANIFEST_BYTES = 4 shl 20

        // So that a full phone can still save its conversations.
        const val RESERVE = 64L shl 20
    }
}
