package org.mlpexport.core

/** What a user sets for each bundle. */
data class GenerationSettings(
    val systemPrompt: String? = null, // null: the template's own
    val temperature: Float = 0f,
    val maxNewTokens: Int = 512,
)

/** What a [ChatSession] tells while it works; called on its thread. */
interface AnswerListener {
    /** [done] of [total] tokens of the prompt are in the KV cache. */
    fun onPrefill(done: Int, total: Int) {}

    /** All visible text so far: stop strings and halves of characters are held back. */
    fun onText(text: String)

    /** True ends the answer, as [ChatSession.cancel] does; asked between slices of the prompt and at each piece. */
    fun cancelled(): Boolean = false
}

data class Answer(val text: String, val end: AnswerEnd, val statistics: AnswerStatistics)

/**
 * Conversations with one loaded model. Only what the KV cache does not hold is prefilled: a session remembers the text
 * in the cache, and a prompt that begins with it adds the rest. [answer] belongs to one thread, [cancel] to any.
 *
 * [clock] gives nanoseconds, [memory] the process's resident bytes. The engine is loaded, and adds no BOS of its own:
 * it is spelled in the text.
 */
class ChatSession(
    private val engine: Engine,
    private val manifest: Manifest,
    private val tokenizer: Tokenizer,
    private val clock: () -> Long = System::nanoTime,
    private val memory: () -> Long = { 0 },
) {
    private val prompts = Prompts(manifest, tokenizer)
    private val cache = CachedText()

    @Volatile private var running: Run? = null

    /** Ends the running answer, which then is STOPPED with the text so far. Nothing happens where none runs. */
    fun cancel() {
        val run = running ?: return
        run.cancelled = true
        engine.stop()
    }

    /**
     * The model's answer to [turns], the last of which is the user's. Blocks.
     *
     * Throws [PromptException] for a prompt that is refused, and [EngineException].
     */
    fun answer(turns: List<Turn>, settings: GenerationSettings, listener: AnswerListener): Answer {
        val run = Run(listener, settings)
        running = run
        try {
            return run.answer(prompts.check(turns, settings))
        } finally {
            running = null
        }
    }

    private class Slice(val text: String, val tokens: TokenCount)

    /** One answer. */
    private inner class Run(private val listener: AnswerListener, private val settings: GenerationSettings) {
        @Volatile var cancelled = false

        private val started = clock()
        // The runtime hands an end token's spelling over as text, of models without a chat format as well.
        private val stops =
            StopStrings(manifest.chat?.stop.orEmpty() + manifest.tokenizer.eosIds.mapNotNull(tokenizer::spelling))
        private val characters = SurrogateAssembler()
        private val answerStrip = manifest.tokenizer.answerStrip.orEmpty()
        private val said = StringBuilder()
        private var visible = ""
        private val pieces = ArrayList<String>()
        private var listenerFailure: Throwable? = null
        private var firstTextAt: Long? = null
        private var prefillNanos = 0L
        private var cachedTokens = 0 // in the KV cache before this answer
        private var done = 0 // of `total`, in the KV cache
        private var total = TokenCount(0, true) // of the prompt, with what was cached

        fun answer(turns: List<Turn>): Answer {
            val slices = plan(turns)
            listener.onPrefill(done, total.tokens)
            for (slice in slices) {
                if (isCancelled()) {
                    cache.cutBefore(slice.text)
                    return finish(AnswerEnd.STOPPED, null)
                }
                if (slice !== slices.last()) prefill(slice)
            }
            return generate(slices.last())
        }

        /** What is to be fed: only the rest, where the prompt begins with what the cache holds. */
        private fun plan(turns: List<Turn>): List<Slice> {
            val whole = prompts.compose(turns, generate = true)
            val rest = cache.restOf(whole)?.takeIf { continues(whole, it) }
            val continues = rest != null
            val slices = tokenizer.slices(rest ?: whole, manifest.prefillChunk).map { Slice(it, tokenizer.count(it)) }
            if (continues) cachedTokens = cache.tokens
            total = slices.fold(TokenCount(cachedTokens, true)) { sum, slice -> sum + slice.tokens }
            if (total.exact && total.tokens >= manifest.context) throw tooLong()
            if (!continues) {
                cache.forget()
                engine.reset()
                cache.put("", 0)
            }
            done = cachedTokens
            return slices
        }

        /**
         * Whether the cache with [rest] behind it has the tokens of [whole]. Of what is cached their number is compared:
         * it is another one where the model spelled its answer otherwise than the tokenizer does.
         */
        private fun continues(whole: String, rest: String): Boolean {
            val before = tokenizer.tokensBefore(rest, whole) ?: return false
            return !before.exact || before.tokens == cache.tokens
        }

        private fun prefill(slice: Slice) {
            val before = clock()
            feeding { engine.prefill(slice.text) }
            prefillNanos += clock() - before
            cache.add(slice.text, slice.tokens.tokens)
            done += slice.tokens.tokens
            listener.onPrefill(done, total.tokens)
        }

        private fun generate(slice: Slice): Answer {
            // Nothing else ends an answer at the end of the context. An estimate leaves it to the runtime's error.
            val room = if (total.exact) manifest.roomAfter(total.tokens) else manifest.context
            val most = minOf(settings.maxNewTokens, room)
            val prompt = cache.take().plus(slice.text, slice.tokens.tokens)
            val stats =
                try {
                    feeding { engine.generate(slice.text, most, settings.temperature, ::onPiece) }
                } catch (exception: EngineException) {
                    listenerFailure?.let { throw it }
                    if (exception.failure.kind != EngineFailure.Kind.CONTEXT_FULL) throw exception
                    return finish(AnswerEnd.CONTEXT_FULL, null)
                }
            listenerFailure?.let { throw it }
            val end =
                when {
                    stops.found -> AnswerEnd.COMPLETE
                    isCancelled() -> AnswerEnd.STOPPED
                    stats.generatedTokens < most -> AnswerEnd.COMPLETE
                    most < settings.maxNewTokens -> AnswerEnd.CONTEXT_FULL
                    else -> AnswerEnd.MAX_TOKENS
                }
            keep(prompt, stats, endIsSpelled = end != AnswerEnd.COMPLETE || stops.found)
            return finish(end, stats)
        }

        /**
         * Remembers what the KV cache holds now: all but the last token that was sampled. That is the last piece,
         * unless the model ended with a token that has no spelling.
         */
        private fun keep(prompt: CachedText.Held, stats: EngineStats, endIsSpelled: Boolean) {
            val last = pieces.lastOrNull()
            // A piece of several tokens: part of it is in the cache, and no text says which. The next turn begins anew.
            if (endIsSpelled && last != null && last.any { it.code >= 0x80 } && !isOneToken(last)) return
            val held = if (endIsSpelled) pieces.dropLast(1) else pieces
            val answer = prompt.plus(held.joinToString(""), maxOf(stats.generatedTokens - 1, 0))
            cache.put(answer.text, answer.tokens)
        }

        private fun isOneToken(piece: String) = tokenizer.count(piece) == TokenCount(1, exact = true)

        private fun onPiece(piece: String) {
            if (listenerFailure != null) return engine.stop()
            try {
                if (pieces.isEmpty()) {
                    done = total.tokens
                    listener.onPrefill(done, total.tokens)
                }
                pieces += piece
                show(stops.push(characters.push(piece)))
                // The runtime loses a stop on the first token: it is repeated as long as pieces come.
                if (stops.found || isCancelled()) engine.stop()
            } catch (failure: Throwable) {
                // The runtime would lose the exception's type and text.
                listenerFailure = failure
                engine.stop()
            }
        }

        private fun show(text: String, isAll: Boolean = false) {
            val all = said.append(text).toString()
            // A beginning of what is dropped may become all of it.
            val shown = if (!isAll && answerStrip.startsWith(all)) "" else all.removePrefix(answerStrip)
            if (shown == visible) return
            visible = shown
            if (firstTextAt == null) firstTextAt = clock()
            listener.onText(visible)
        }

        private fun finish(end: AnswerEnd, stats: EngineStats?): Answer {
            show(stops.push(characters.finish()) + stops.flush(), isAll = true)
            val sampled = stats?.generatedTokens ?: pieces.size
            val prefilled = done - cachedTokens
            val statistics =
                AnswerStatistics(
                    promptTokens = prefilled,
                    cachedTokens = cachedTokens,
                    answerTokens = if (stops.found) maxOf(sampled - 1, 0) else sampled,
                    firstTokenMillis = ((firstTextAt ?: clock()) - started) / 1_000_000,
                    prefillTokensPerSecond = rate(prefilled, prefillNanos / 1e9 + (stats?.prefillMillis ?: 0) / 1e3),
                    decodeTokensPerSecond = rate(sampled - 1, (stats?.decodeMillis ?: 0) / 1e3),
                    memoryBytes = memory(),
                )
            return Answer(visible, end, statistics)
        }

        private fun isCancelled() = cancelled || listener.cancelled()

        /** Runs a call that feeds; a context that is full before the first piece means that the prompt is too long. */
        private fun <T> feeding(call: () -> T): T {
            var succeeded = false
            try {
                return call().also { succeeded = true }
            } catch (exception: EngineException) {
                val full = exception.failure.kind == EngineFailure.Kind.CONTEXT_FULL
                throw if (full && pieces.isEmpty()) tooLong(exception) else exception
            } finally {
                if (!succeeded) cache.forget()
            }
        }

        private fun tooLong(cause: Throwable? = null) =
            PromptException(PromptProblem.TOO_LONG, tokens = total, context = manifest.context, cause = cause)
    }
}

/** Tokens per second; null where there was too little to time. */
private fun rate(tokens: Int, seconds: Double): Double? = if (tokens < 1 || seconds <= 0) null else tokens / seconds
