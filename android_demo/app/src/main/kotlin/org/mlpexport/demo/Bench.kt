package org.mlpexport.demo

import android.content.Context
import org.mlpexport.core.BenchHost
import org.mlpexport.core.BenchPlan
import org.mlpexport.core.BenchResult
import org.mlpexport.core.BenchRunner
import org.mlpexport.core.Bundle
import org.mlpexport.core.BundleException
import org.mlpexport.core.BundleProblem
import org.mlpexport.core.JsonException
import org.mlpexport.core.deviceFit
import java.io.File
import java.io.IOException

/**
 * Carries out a plan that came as text, and writes each state of the result into [folder]. Whatever goes wrong, a
 * result with the reason is there in the end: nobody may be looking at the phone.
 */
class Bench(private val app: MlpApplication, private val folder: File, private val publish: (BenchResult) -> Unit) {
    @Volatile private var cancelled = false

    /** Null until something could not be written; the screen is then the only place that says so. */
    @Volatile var writeProblem: IOException? = null
        private set

    fun cancel() {
        cancelled = true
    }

    /** Blocks until all is measured, failed or cancelled. */
    fun run(text: String) {
        val device = app.device()
        val host = BenchSensorsOfPhone.host(app, device)
        val plan = try {
            BenchPlan.parse(text)
        } catch (e: JsonException) {
            val problem = app.getString(R.string.bench_bad_plan, e.message.orEmpty())
            show(failed(BenchPlan.idOf(text) ?: NO_ID, host, null, BAD_PLAN, problem))
            return
        }
        try {
            val bundle = open(plan.bundle)
            val reason = deviceFit(bundle.manifest, device.forBackend(bundle.manifest.backend)).reasons.firstOrNull()
            if (reason == null) {
                measure(plan, bundle, host)
            } else {
                show(failed(plan.id, host, plan, reason.kind.name, app.sentence(reason)).copy(bundle = bundle))
            }
        } catch (e: BundleException) {
            show(failed(plan.id, host, plan, e.problem.name, app.sentence(e)))
        } catch (e: RuntimeException) {
            show(failed(plan.id, host, plan, UNKNOWN, e.message ?: e.javaClass.simpleName))
        }
    }

    private fun open(name: String): Bundle = when (val entry = app.bundles.entry(name)) {
        null -> throw BundleException(BundleProblem.NOT_A_BUNDLE, name)
        is BundleEntry.Broken -> throw BundleException(entry.problem, entry.detail)
        is BundleEntry.Usable -> {
            when (val hashes = entry.hashes) {
                is HashState.Wrong -> throw BundleException(BundleProblem.WRONG_HASH, hashes.file)
                HashState.Unchecked -> entry.bundle.checkHashes()
                HashState.Checked -> Unit
            }
            entry.bundle
        }
    }

    private fun measure(plan: BenchPlan, bundle: Bundle, host: BenchHost) {
        app.newEngine(bundle).use { engine ->
            val sensors = BenchSensorsOfPhone(app)
            BenchRunner(plan, bundle, engine, app.tokenizer(bundle), host, sensors, ::show) { cancelled }.run()
        }
    }

    private fun failed(id: String, host: BenchHost, plan: BenchPlan?, kind: String, message: String) =
        BenchResult(id, BenchResult.Status.FAILED, host, plan, error = BenchResult.Error(kind, null, message))

    private fun show(result: BenchResult) {
        try {
            result.writeTo(folder)
        } catch (e: IOException) {
            writeProblem = e
        }
        publish(result)
    }

    companion object {
        /** Name of the result of a plan that does not even have a usable id. */
        const val NO_ID = "bad-plan"
        private const val BAD_PLAN = "BAD_PLAN"
        private const val UNKNOWN = "UNKNOWN"

        /** Where `mlp-export bench --device` looks; the app's own files where there is no shared storage. */
        fun folder(context: Context): File = context.getExternalFilesDir("bench") ?: File(context.filesDir, "bench")
    }
}
