package org.mlpexport.demo

import android.os.Handler
import android.os.Looper
import org.mlpexport.core.Answer
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.AnswerListener
import org.mlpexport.core.AnswerStatistics
import org.mlpexport.core.Bundle
import org.mlpexport.core.ChatSession
import org.mlpexport.core.Engine
import org.mlpexport.core.EngineFactory
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.PromptException
import org.mlpexport.core.Tokenizer
import org.mlpexport.core.Turn
import java.io.Closeable
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicReference

/**
 * The one loaded model of the process and the one request that it works on; outlives Activities. Everything public is
 * called on the main thread. Work happens on one thread of its own, as an engine belongs to one thread.
 */
class ModelHost(
    private val engines: EngineFactory,
    private val tokenizers: (Bundle) -> Tokenizer,
    private val memory: () -> Long,
) {
    /** [tag] says whose request it is: "chat/<conversation id>", "task", "document". */
    data class Request(
        val bundle: Bundle,
        val turns: List<Turn>,
        val settings: GenerationSettings,
        val tag: String,
    )

    sealed interface State {
        data object Idle : State

        data class Loading(val request: Request) : State

        /** [prefilled] of [total] tokens of the prompt are in the KV cache; total is 0 until it is known. */
        data class Working(val request: Request, val prefilled: Int, val total: Int, val text: String) : State

        data class Done(val request: Request, val answer: Answer) : State

        /** [problem]: EngineException, PromptException or BundleException; [text]: what came before it. */
        data class Failed(val request: Request, val problem: Exception, val text: String) : State
    }

    /** Stores what comes; called on the model's thread, before the state that says so. Must not throw. */
    interface Recorder {
        fun onText(request: Request, text: String)

        fun onEnd(request: Request, end: State)
    }

    @Volatile var recorder: Recorder? = null

    var state: State = State.Idle
        private set

    private val main = Handler(Looper.getMainLooper())
    private val worker = Executors.newSingleThreadExecutor { Thread(it, "model").apply { isDaemon = true } }
    private val listeners = mutableListOf<(State) -> Unit>()
    private val newest = AtomicReference<State.Working?>()

    @Volatile private var model: Loaded? = null // changed by the worker alone

    @Volatile private var stopping = false

    private var reservations = 0

    val busy get() = state is State.Loading || state is State.Working

    /** The request that is being worked on, or the last one. */
    val request
        get() = when (val state = state) {
            State.Idle -> null
            is State.Loading -> state.request
            is State.Working -> state.request
            is State.Done -> state.request
            is State.Failed -> state.request
        }

    /** Calls [listener] with the present state at once, and with each new one until the result is closed. */
    fun observe(listener: (State) -> Unit): Closeable {
        listeners += listener
        listener(state)
        return Closeable { listeners -= listener }
    }

    /** False while another request runs, so that a second tap does nothing, and while this is reserved. */
    fun submit(request: Request): Boolean {
        if (busy || reservations > 0) return false
        stopping = false
        show(State.Loading(request))
        worker.execute { work(request) }
        return true
    }

    /** Ends the running request; what was generated so far stays. */
    fun stop() {
        if (!busy) return
        stopping = true
        model?.session?.cancel()
    }

    /** Frees the memory of [bundle]'s model, or of any, after a running request was stopped, and calls [then]. */
    fun unload(bundle: Bundle? = null, then: () -> Unit = {}) {
        if (bundle == null || request?.bundle?.folder == bundle.folder) stop()
        worker.execute {
            if (bundle == null || model?.bundle?.folder == bundle.folder) close()
            main.post(then)
        }
    }

    /** Takes no request until the result is closed: a measurement needs memory and processors for itself. */
    fun reserve(): Closeable {
        reservations++
        return Closeable { reservations-- }
    }

    private fun work(request: Request) {
        val progress = Progress(request)
        val end = try {
            val session = open(request.bundle)
            progress.report()
            State.Done(request, if (stopping) NOTHING else session.answer(request.turns, request.settings, progress))
        } catch (problem: PromptException) {
            State.Failed(request, problem, progress.text)
        } catch (problem: Exception) {
            close() // what an engine is worth after a failure is not known; the next request loads it anew
            State.Failed(request, problem, progress.text)
        }
        recorder?.onEnd(request, end)
        main.post { show(end) }
    }

    /** On the worker's thread. */
    private inner class Progress(val request: Request) : AnswerListener {
        private var prefilled = 0
        private var total = 0
        var text = ""
            private set

        override fun onPrefill(done: Int, total: Int) {
            prefilled = done
            this.total = total
            report()
        }

        override fun onText(text: String) {
            this.text = text
            recorder?.onText(request, text)
            report()
        }

        override fun cancelled() = stopping

        /** Only the newest state is shown: pieces may come faster than frames. */
        fun report() {
            val working = State.Working(request, prefilled, total, text)
            if (newest.getAndSet(working) == null) main.post { newest.getAndSet(null)?.let(::show) }
        }
    }

    private fun open(bundle: Bundle): ChatSession {
        model?.takeIf { it.bundle == bundle }?.let { return it.session }
        close() // before the next one needs the memory
        val engine = engines.create(bundle)
        try {
            engine.load()
            val session = ChatSession(engine, bundle.manifest, tokenizers(bundle), System::nanoTime, memory)
            model = Loaded(bundle, engine, session)
            return session
        } catch (problem: Exception) {
            engine.close()
            throw problem
        }
    }

    private fun close() {
        model?.engine?.close()
        model = null
    }

    private fun show(state: State) {
        this.state = state
        listeners.toList().forEach { if (it in listeners) it(state) }
    }

    private class Loaded(val bundle: Bundle, val engine: Engine, val session: ChatSession)

    private companion object {
        val NOTHING = Answer("", AnswerEnd.STOPPED, AnswerStatistics(0, 0, 0, 0, null, null, 0))
    }
}
