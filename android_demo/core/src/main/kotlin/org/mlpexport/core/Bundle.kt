package org.mlpexport.core

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.security.MessageDigest

private const val MANIFEST = "manifest.json"
private const val MOST_MANIFEST_BYTES = 4L shl 20
private const val BUFFER_BYTES = 1 shl 20

/** A bundle whose manifest, names and sizes were checked. Hashes are checked by [Bundle.checkHashes]. */
data class Bundle(val folder: File, val manifest: Manifest) {
    val pte get() = File(folder, "model.pte")
    val tokenizer get() = File(folder, "tokenizer.json")
    val license get() = File(folder, "LICENSE")

    /**
     * Reads all files and compares their sha256. [progress] gets bytes done and bytes in all; what it throws ends this.
     *
     * Throws [BundleException] with WRONG_HASH, or UNREADABLE.
     */
    fun checkHashes(progress: (done: Long, total: Long) -> Unit = { _, _ -> }) {
        val total = manifest.files.values.sumOf { it.bytes }
        var done = 0L
        for ((name, entry) in manifest.files) {
            val found =
                try {
                    sha256(File(folder, name)) { bytes ->
                        done += bytes
                        progress(done, total)
                    }
                } catch (exception: IOException) {
                    throw BundleException(BundleProblem.UNREADABLE, "$name: ${exception.message}")
                }
            if (found != entry.sha256) throw BundleException(BundleProblem.WRONG_HASH, name)
        }
    }

    companion object {
        /** The bundle in [folder]: manifest, names and sizes checked. Throws [BundleException]. */
        fun open(folder: File): Bundle {
            val file = File(folder, MANIFEST)
            if (isLink(file)) throw BundleException(BundleProblem.SYMBOLIC_LINK, MANIFEST)
            if (!file.isFile) throw noManifest(folder)
            if (file.length() > MOST_MANIFEST_BYTES) {
                val problem = "$MANIFEST has ${file.length()} bytes, expected at most $MOST_MANIFEST_BYTES"
                throw BundleException(BundleProblem.DAMAGED_MANIFEST, problem)
            }
            val manifest = Manifest.parse(text(file))
            for ((name, entry) in manifest.files) checkFile(File(folder, name), entry)
            return Bundle(folder, manifest)
        }
    }
}

private fun noManifest(folder: File): BundleException =
    if (folder.exists() && (!folder.canRead() || !folder.canExecute() || folder.isDirectory && folder.list() == null)) {
        BundleException(BundleProblem.UNREADABLE, folder.path)
    } else {
        BundleException(BundleProblem.NOT_A_BUNDLE, folder.path)
    }

private fun text(file: File): String =
    try {
        Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(file.readBytes())).toString()
    } catch (_: CharacterCodingException) {
        throw BundleException(BundleProblem.DAMAGED_MANIFEST, "$MANIFEST is not UTF-8")
    } catch (exception: IOException) {
        throw BundleException(BundleProblem.UNREADABLE, "$MANIFEST: ${exception.message}")
    }

private fun checkFile(file: File, entry: FileEntry) {
    if (isLink(file)) throw BundleException(BundleProblem.SYMBOLIC_LINK, file.name)
    if (!file.isFile) throw BundleException(BundleProblem.MISSING_FILE, file.name)
    val size = file.length()
    if (size != entry.bytes) throw BundleException(BundleProblem.WRONG_SIZE, "${file.name}: $size of ${entry.bytes}")
    if (!file.canRead()) throw BundleException(BundleProblem.UNREADABLE, file.name)
}

private fun isLink(file: File) = Files.isSymbolicLink(file.toPath())

/** The file's sha256 in hexadecimal; [read] gets the number of bytes of each step. Throws IOException. */
fun sha256(file: File, read: (Int) -> Unit = {}): String {
    val digest = MessageDigest.getInstance("SHA-256")
    file.inputStream().use { input ->
        val buffer = ByteArray(BUFFER_BYTES)
        while (true) {
            val count = input.read(buffer)
            if (count < 0) break
            digest.update(buffer, 0, count)
            read(count)
        }
    }
    return digest.digest().joinToString("") { "%02x".format(it) }
}

/** Why a folder is no bundle that can be used. The app has a sentence for each; [detail] names file, key or number. */
class BundleException(val problem: BundleProblem, val detail: String) : Exception("$problem: $detail")

enum class BundleProblem {
    NOT_A_BUNDLE, // no manifest.json
    NEWER_FORMAT, // detail: the number
    DAMAGED_MANIFEST, // detail: key and what is wrong
    BAD_NAME, // a file name with a separator, "..", ...
    SYMBOLIC_LINK,
    MISSING_FILE,
    WRONG_SIZE, // half copied, 0 bytes
    WRONG_HASH,
    UNREADABLE, // permissions, removed storage
}
