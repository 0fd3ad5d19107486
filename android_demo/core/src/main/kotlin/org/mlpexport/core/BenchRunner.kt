package org.mlpexport.core

import org.mlpexport.core.BenchResult.Status

/** What a phone tells of itself while it is measured. */
interface BenchSensors {
    fun nanos(): Long = System.nanoTime()

    /** One of the schema's words, "unknown" where the phone does not say. */
    fun thermal(): String

    /** 1 is where the phone slows down; null where it does not say. */
    fun headroom(): Double?

    /** Threads of the process; null where that cannot be told. */
    fun threads(): Int?

    /** Resident bytes of the process. */
    fun memory(): Long
}

/**
 * Measures a bundle by a plan. [engine] is not loaded: that is measured too. [publish] gets the result after each step,
 * [cancelled] is asked between slices of a prompt and at each token.
 */
class BenchRunner(
    private val plan: BenchPlan,
    private val bundle: Bundle,
    private val engine: Engine,
    private val tokenizer: Tokenizer,
    host: BenchHost,
    private val sensors: BenchSensors,
    private val publish: (BenchResult) -> Unit,
    private val cancelled: () -> Boolean = { false },
) {
    private class Cancelled : Exception()

    private val lengths = plan.promptTokens.filter { bundle.manifest.roomAfter(it) > plan.newTokens }
    private val minutes = if (lengths.isEmpty()) 0 else (plan.sustainedSeconds + 59) / 60
    private var result =
        BenchResult(
            plan.id,
            Status.RUNNING,
            host,
            plan,
            bundle,
            total = 1 + lengths.size * plan.repetitions + minutes,
            skipped = plan.promptTokens - lengths.toSet(),
        )

    /** Blocks until all is measured, failed or cancelled. The result was published as well. */
    fun run(): BenchResult {
        try {
            load()
            for (length in lengths) {
                val prompt = prompt(length)
                for (repetition in 1..plan.repetitions) repeat(prompt, length, repetition)
            }
            if (minutes > 0) sustain(lengths.min())
            show(result.copy(status = Status.DONE, done = result.total, stage = ""))
        } catch (_: Cancelled) {
            show(result.copy(status = Status.CANCELLED))
        } catch (exception: EngineException) {
            val failure = exception.failure
            val error = BenchResult.Error(failure.kind.name, failure.code, failure.detail)
            show(result.copy(status = Status.FAILED, error = error))
        }
        return result
    }

    private fun load() {
        show(result.copy(stage = "load"))
        val start = sensors.nanos()
        engine.load()
        show(result.copy(loadSeconds = secondsSince(start), done = 1))
    }

    private fun repeat(prompt: List<String>, length: Int, repetition: Int) {
        show(result.copy(stage = "$length tokens, $repetition of ${plan.repetitions}"))
        val before = sensors.threads()
        val run = measure(prompt, length, repetition)
        val after = sensors.threads()
        // The runtime starts its threads with the first run; the calling one works as well.
        val threads = result.threads ?: if (before == null || after == null) null else maxOf(after - before, 0) + 1
        show(
            result.copy(
                done = result.done + 1,
                threads = threads,
                residentBytes = sensors.memory(),
                runs = result.runs + run,
            ),
        )
    }

    private fun sustain(length: Int) {
        val prompt = prompt(length)
        val start = sensors.nanos()
        val done = result.done
        var samples = emptyList<BenchSample>()
        while (samples.isEmpty() || secondsSince(start) < plan.sustainedSeconds) {
            val minute = minOf(secondsSince(start).toInt() / 60, minutes - 1)
            show(result.copy(done = done + minute, stage = "sustained, minute ${minute + 1} of $minutes"))
            val run = measure(prompt, length, samples.size + 1)
            samples = samples +
                BenchSample(
                    secondsSince(start),
                    rate(run.promptTokens, run.prefillSeconds),
                    rate(run.decodeTokens, run.decodeSeconds),
                    run.thermal,
                    sensors.headroom(),
                )
            show(result.copy(sustained = BenchSustained(secondsSince(start), length, samples)))
        }
    }

    /** Prefills [prompt] into an empty cache and decodes. The last slice goes in with the answer's call. */
    private fun measure(prompt: List<String>, wanted: Int, repetition: Int): BenchRun {
        engine.reset()
        val start = sensors.nanos()
        for (slice in prompt.dropLast(1)) {
            checkCancelled()
            engine.prefill(slice)
        }
        checkCancelled()
        val before = secondsSince(start)
        // One more than the steps that are timed: the first token comes out of the prefill.
        val stats =
            engine.generate(prompt.last(), plan.newTokens + 1, temperature = 0f) { if (cancelled()) engine.stop() }
        checkCancelled()
        return BenchRun(
            promptTokens = prompt.dropLast(1).sumOf { tokenizer.count(it).tokens } + stats.promptTokens,
            wantedTokens = wanted,
            repetition = repetition,
            prefillSeconds = before + stats.prefillMillis / 1e3,
            decodeTokens = maxOf(stats.generatedTokens - 1, 0),
            decodeSeconds = stats.decodeMillis / 1e3,
            thermal = sensors.thermal(),
        )
    }

    /** A text of at most [tokens] tokens and nearly as many; in slices, if they are known to have the same tokens. */
    private fun prompt(tokens: Int): List<String> {
        var low = 1 // words that fit
        var high = tokens + 1 // words that do not: each has at least a token
        while (high - low > 1) {
            val middle = (low + high) / 2
            if (tokenizer.count(words(middle)).tokens <= tokens) low = middle else high = middle
        }
        val text = words(low)
        // Large slices: each ends with a call of fewer tokens than the program takes at once.
        val size = bundle.manifest.prefillChunk * CALLS_PER_SLICE
        return if (tokenizer.inexactBecause == null) tokenizer.slices(text, size) else listOf(text)
    }

    private fun checkCancelled() {
        if (cancelled()) throw Cancelled()
    }

    private fun secondsSince(start: Long) = (sensors.nanos() - start) / 1e9

    private fun show(result: BenchResult) {
        this.result = result
        publish(result)
    }

    private companion object {
        const val CALLS_PER_SLICE = 8

        val WORDS =
            "The river rises in the hills to the north and is joined by two streams before it comes to the town."
                .split(' ')

        fun words(count: Int) = (0 until count).joinToString(" ") { WORDS[it % WORDS.size] }

        fun rate(tokens: Int, seconds: Double) = if (tokens < 1 || seconds <= 0) null else tokens / seconds
    }
}
