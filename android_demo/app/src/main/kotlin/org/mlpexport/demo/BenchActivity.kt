package org.mlpexport.demo

import android.content.Intent
import android.os.Bundle
import android.view.View
import android.view.WindowManager
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import org.mlpexport.core.BenchResult
import org.mlpexport.core.EngineFailure
import kotlin.concurrent.thread

/**
 * Measures a bundle without a finger, with the screen on. From a shell:
 * `am start -n org.mlpexport.demo/.BenchActivity --es bench '{"format": 1, ...}'`; the result is files/bench/ID.json.
 */
class BenchActivity : Screen() {
    private var bench: Bench? = null
    private var running = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        show(R.layout.activity_bench)
        title = getString(R.string.bench_title)
        view<View>(R.id.bench_stop).setOnClickListener { bench?.cancel() }
        // A screen that comes back after its process was killed does not measure anew by itself.
        start(if (savedInstanceState == null) intent.getStringExtra(PLAN) else null)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        if (running) {
            Toast.makeText(this, R.string.bench_busy, Toast.LENGTH_LONG).show()
        } else {
            start(intent.getStringExtra(PLAN))
        }
    }

    override fun onDestroy() {
        bench?.cancel()
        super.onDestroy()
    }

    private fun start(plan: String?) {
        view<View>(R.id.bench_bar).visibility = visible(plan != null)
        view<View>(R.id.bench_stop).visibility = visible(plan != null)
        view<TextView>(R.id.bench_stage).setText(if (plan == null) R.string.bench_none else R.string.bench_starting)
        if (plan == null) return
        running = true
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        val bench = Bench(app, Bench.folder(this)) { result -> mainExecutor.execute { draw(result) } }
        this.bench = bench
        // Two models at once are more than many phones hold.
        val reservation = app.models.reserve()
        app.models.unload {
            thread(name = "bench") {
                bench.run(plan)
                mainExecutor.execute(reservation::close)
            }
        }
    }

    private fun draw(result: BenchResult) {
        running = result.status == BenchResult.Status.RUNNING
        if (!running) window.clearFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        view<TextView>(R.id.bench_bundle).text =
            result.bundle?.manifest?.model?.id?.substringAfterLast('/') ?: result.plan?.bundle.orEmpty()
        view<TextView>(R.id.bench_stage).text = when (result.status) {
            BenchResult.Status.RUNNING -> getString(R.string.bench_running, result.done + 1, result.total, result.stage)
            BenchResult.Status.DONE -> getString(R.string.bench_done)
            BenchResult.Status.CANCELLED -> getString(R.string.bench_cancelled)
            BenchResult.Status.FAILED -> getString(R.string.bench_failed, result.error?.let(::reason))
        }
        view<ProgressBar>(R.id.bench_bar).apply {
            visibility = visible(running)
            max = result.total
            progress = result.done
        }
        view<View>(R.id.bench_stop).visibility = visible(running)
        val lines = lines(result)
        view<TextView>(R.id.bench_runs).apply {
            visibility = visible(lines.isNotEmpty())
            text = lines.joinToString("\n")
        }
        val problem = bench?.writeProblem
        view<TextView>(R.id.bench_file).text = if (problem == null) {
            getString(R.string.bench_file, "${Bench.folder(this)}/${result.id}.json")
        } else {
            getString(R.string.bench_not_written, problem.message)
        }
    }

    /** The engine's failures are names and numbers in the file, and sentences here. */
    private fun reason(error: BenchResult.Error): String {
        val kind = EngineFailure.Kind.entries.find { it.name == error.kind } ?: return error.message
        return sentence(EngineFailure(kind, error.code, error.message))
    }

    private fun lines(result: BenchResult): List<String> {
        val load = result.loadSeconds?.let { getString(R.string.bench_loaded, decimal(it)) }
        val runs = result.runs.map {
            val rate = if (it.decodeSeconds > 0) it.decodeTokens / it.decodeSeconds else null
            val prefill = decimal(it.prefillSeconds)
            getString(R.string.bench_run, number(it.promptTokens), prefill, decimal(rate), it.thermal)
        }
        val samples = result.sustained?.samples.orEmpty().takeLast(SAMPLES).map {
            val prefill = decimal(it.prefillTokensPerSecond)
            val decode = decimal(it.decodeTokensPerSecond)
            getString(R.string.bench_sample, decimal(it.atSeconds), prefill, decode, it.thermal)
        }
        return listOfNotNull(load) + runs + samples
    }

    private fun decimal(value: Double?) =
        if (value == null) "–" else "%.1f".format(resources.configuration.locales[0], value)

    private fun visible(yes: Boolean) = if (yes) View.VISIBLE else View.GONE

    private fun <T : View> view(id: Int): T = requireViewById(id)

    companion object {
        /** The plan, as mlp_export/data/device_bench.schema.json has it. */
        const val PLAN = "bench"

        // Of a run of minutes the last ones; the file has them all.
        private const val SAMPLES = 5
    }
}
