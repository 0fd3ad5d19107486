package org.mlpexport.demo

import android.os.Handler
import android.os.Looper
import org.mlpexport.core.BundleException
import org.mlpexport.core.BundleProblem
import org.mlpexport.core.Device
import org.mlpexport.core.DeviceFit
import org.mlpexport.core.deviceFit
import org.mlpexport.demo.engine.PackedWeights
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.util.concurrent.CancellationException
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors

/**
 * What the list of bundles shows, kept up to date in the background: which there are, whether they fit this phone,
 * their hashes, and one import at a time. Outlives screens; everything public is called on the main thread.
 */
class BundleLibrary(
    val repository: BundleRepository,
    private val ledger: HashLedger,
    private val importer: BundleImporter,
    private val device: () -> Device,
    private val packedWeights: PackedWeights,
    private val looker: ExecutorService = thread("bundles"),
    private val worker: ExecutorService = thread("hashes and imports"),
) {
    /** [fit] is null for a bundle that cannot be used. */
    data class Item(val entry: BundleEntry, val fit: DeviceFit?) {
        /** It fits this phone, and nothing is known against its files. */
        val canOpen get() = fit?.runs == true && (entry as? BundleEntry.Usable)?.hashes !is HashState.Wrong

        val isChecked get() = (entry as? BundleEntry.Usable)?.hashes == HashState.Checked
    }

    /** Bytes of [name] that are hashed or copied. */
    data class Progress(val name: String, val done: Long, val total: Long) {
        val percent get() = if (total <= 0) 0 else (100 * done / total).toInt().coerceIn(0, 100)
    }

    /** How the last import ended: [problem] is null if it went well, and CancellationException if it was cancelled. */
    data class Imported(val name: String, val problem: Throwable?)

    /** [items] is null until the storage was looked at once. */
    data class Snapshot(
        val items: List<Item>? = null,
        val device: Device? = null,
        val unreadable: List<File> = emptyList(),
        val checking: Progress? = null,
        val importing: Progress? = null,
        val imported: Imported? = null,
    ) {
        fun item(name: String) = items?.find { it.entry.name == name }
    }

    var snapshot = Snapshot()
        private set

    private val main = Handler(Looper.getMainLooper())
    private val listeners = mutableListOf<(Snapshot) -> Unit>()
    // Identities of bundles whose check was begun. One that could not be finished waits for the next refresh: begun
    // again at once, a file that cannot be read would be read without end.
    private val begun = mutableSetOf<String>()
    private val unfinished = mutableSetOf<String>()
    private var cleaned = false

    @Volatile private var cancelled = false

    /** Calls [listener] now and at each change, until the result is closed. */
    fun observe(listener: (Snapshot) -> Unit): Closeable {
        listeners += listener
        listener(snapshot)
        return Closeable { listeners -= listener }
    }

    /** Looks at the storage, and then checks the hashes of what is new or could not be read the last time. */
    fun refresh() {
        begun -= unfinished
        unfinished.clear()
        clean()
        look()
    }

    private fun look() = looker.execute {
        val device = device()
        val items = repository.list().map { entry ->
            val manifest = (entry as? BundleEntry.Usable)?.bundle?.manifest
            Item(entry, manifest?.let { deviceFit(it, device.forBackend(it.backend)) })
        }.sortedByDescending { it.canOpen }
        val unreadable = repository.unreadable()
        main.post {
            show(snapshot.copy(items = items, device = device, unreadable = unreadable))
            items.forEach { check(it.entry) }
        }
    }

    /**
     * Once for each process: what imports that were killed and bundles that are gone have left behind. On the thread of
     * imports and before all of them, as what a running import has written looks like what a killed one left.
     */
    private fun clean() {
        if (cleaned) return
        cleaned = true
        worker.execute {
            repository.deletePartialImports()
            packedWeights.deleteAllBut(repository.list().filterIsInstance<BundleEntry.Usable>().map { it.bundle })
        }
    }

    /** Starts an import of what [source] lists, on the worker's thread; false while another one runs. */
    fun import(name: String, source: () -> ImportSource): Boolean {
        if (snapshot.importing != null) return false
        clean()
        cancelled = false
        show(snapshot.copy(importing = Progress(name, 0, 0), imported = null))
        worker.execute {
            val outcome = try {
                val report = reporter { show(snapshot.copy(importing = it)) }
                val bundle = importer.import(source()) { done, total ->
                    if (cancelled) throw CancellationException()
                    report(Progress(name, done, total))
                }
                Imported(bundle.folder.name, null)
            } catch (e: BundleException) {
                Imported(name, e)
            } catch (e: IOException) {
                Imported(name, e)
            } catch (e: CancellationException) {
                Imported(name, e)
            } catch (e: SecurityException) {
                Imported(name, e)
            } catch (e: RuntimeException) {
                // Whatever the provider of another app throws.
                Imported(name, IOException(e.message ?: e.javaClass.simpleName, e))
            }
            main.post {
                show(snapshot.copy(importing = null, imported = outcome))
                refresh()
            }
        }
        return true
    }

    fun cancelImport() {
        cancelled = true
    }

    /** The outcome of the import was shown. */
    fun forgetImport() = show(snapshot.copy(imported = null))

    /** Deletes in the background; [then] gets whether all is gone. */
    fun delete(entry: BundleEntry, then: (Boolean) -> Unit) = looker.execute {
        val gone = repository.delete(entry)
        (entry as? BundleEntry.Usable)?.let { packedWeights.delete(it.bundle) }
        main.post {
            then(gone)
            refresh()
        }
    }

    private fun check(entry: BundleEntry) {
        if (entry !is BundleEntry.Usable || entry.hashes != HashState.Unchecked) return
        val identity = entry.folder.path + "\n" + ledger.identity(entry.bundle)
        if (!begun.add(identity)) return
        worker.execute {
            val report = reporter { show(snapshot.copy(checking = it)) }
            val finished = try {
                entry.bundle.checkHashes { done, total -> report(Progress(entry.name, done, total)) }
                ledger.record(entry.bundle, wrong = null)
                true
            } catch (e: BundleException) {
                // Any other problem, such as a file that is gone by now, shows when the storage is looked at again.
                val wrong = e.problem == BundleProblem.WRONG_HASH
                if (wrong) ledger.record(entry.bundle, wrong = e.detail)
                wrong
            } catch (_: IOException) {
                false
            }
            main.post {
                if (!finished) unfinished += identity
                show(snapshot.copy(checking = null))
                look()
            }
        }
    }

    /** Passes on to the main thread what a person could see: a change of the percentage. */
    private fun reporter(show: (Progress) -> Unit): (Progress) -> Unit {
        var shown = -1
        return { progress ->
            if (progress.percent != shown) {
                shown = progress.percent
                main.post { show(progress) }
            }
        }
    }

    private fun show(next: Snapshot) {
        if (next == snapshot) return
        snapshot = next
        listeners.toList().forEach { it(next) }
    }

    companion object {
        private fun thread(name: String): ExecutorService =
            Executors.newSingleThreadExecutor { Thread(it, name).apply { isDaemon = true } }
    }
}
