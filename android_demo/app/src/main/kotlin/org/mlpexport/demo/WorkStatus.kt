package org.mlpexport.demo

import android.content.Context
import android.icu.text.MeasureFormat
import android.icu.util.Measure
import android.icu.util.MeasureUnit
import android.os.SystemClock

/** Says what the model does with a request, and the time that is left of a long prefill. */
class WorkStatus(
    private val context: Context,
    private val speeds: PrefillSpeeds,
    private val clock: () -> Long = SystemClock::elapsedRealtime,
) {
    private var request: ModelHost.Request? = null
    private var begun: Pair<Int, Long>? = null

    /** [percent] is null where nobody knows how long it takes. */
    data class Line(val text: String, val percent: Int?)

    fun describe(state: ModelHost.State): Line? = when (state) {
        is ModelHost.State.Loading -> {
            val model = state.request.bundle.manifest.model.id.substringAfterLast('/')
            Line(context.getString(R.string.work_loading_model, model), null)
        }
        is ModelHost.State.Working -> working(state)
        else -> null
    }

    private fun working(state: ModelHost.State.Working): Line {
        if (state.total == 0 || state.prefilled >= state.total || state.text.isNotEmpty()) {
            return Line(context.getString(R.string.work_writing), null)
        }
        val done = context.number(state.prefilled)
        val total = context.number(state.total)
        val left = secondsLeft(state)
        val text = if (left == null) {
            context.getString(R.string.work_prefill, done, total)
        } else {
            context.getString(R.string.work_prefill_left, done, total, context.duration(left))
        }
        return Line(text, 100 * state.prefilled / state.total)
    }

    /** From the speed since the first slice was seen, until then from earlier prompts; null where nothing is known. */
    private fun secondsLeft(state: ModelHost.State.Working): Long? {
        val left = state.total - state.prefilled
        val start = begun.takeIf { request === state.request }
        if (start == null || state.prefilled < start.first) {
            request = state.request
            begun = state.prefilled to clock()
        } else {
            val millis = clock() - start.second
            val tokens = state.prefilled - start.first
            if (tokens > 0 && millis > 0) return millis * left / tokens / 1000 + 1
        }
        return speeds[state.request.bundle.folder.name]?.let { (left / it).toLong() + 1 }
    }
}

/** "45 sec" or "2 min" in the user's language. */
internal fun Context.duration(seconds: Long): String {
    val format = MeasureFormat.getInstance(resources.configuration.locales[0], MeasureFormat.FormatWidth.SHORT)
    if (seconds < 90) return format.formatMeasures(Measure(seconds, MeasureUnit.SECOND))
    return format.formatMeasures(Measure((seconds + 30) / 60, MeasureUnit.MINUTE))
}
