/// One answer of a `ChatSession`, on its thread.
final class AnswerRun {
  private struct Slice {
    var text: String
    var tokens: TokenCount
  }

  private let session: ChatSession
  private let settings: GenerationSettings
  private let listener: AnswerListener
  private let cancellation: Cancellation
  private let started: Double
  private var stops: StopStrings
  private var lost = LostPieces()
  private var said = ""
  private var visible = ""
  private var pieces: [String] = []
  private var firstTextAt: Double?
  private var prefillSeconds = 0.0
  private var cachedTokens = 0  // in the KV cache before this answer
  private var done = 0  // of `total`, in the KV cache
  private var total = TokenCount(0, isExact: true)  // of the prompt, with what was cached

  init(
    _ session: ChatSession, _ settings: GenerationSettings, _ listener: AnswerListener, _ cancellation: Cancellation
  ) {
    self.session = session
    self.settings = settings
    self.listener = listener
    self.cancellation = cancellation
    started = session.clock()
    stops = StopStrings(session.prompts.stops)
  }

  func answer(_ turns: [Turn]) throws -> Answer {
    var slices = try plan(turns)
    listener.prefilled(done, of: total.tokens)
    let last = slices.removeLast()
    for slice in slices {
      if isCancelled { return cut(before: slice) }
      try prefill(slice)
    }
    return isCancelled ? cut(before: last) : try generate(last)
  }

  /// What is to be fed: only the rest, where the prompt begins with what the cache holds. At least one slice.
  private func plan(_ turns: [Turn]) throws -> [Slice] {
    let (prompts, tokenizer) = (session.prompts, session.tokenizer)
    let whole = try prompts.compose(turns, generate: true)
    let rest = session.cache.rest(of: whole).flatMap { continues(whole, with: $0) ? $0 : nil }
    let slices = tokenizer.slices(rest ?? whole, size: session.manifest.prefillChunk).map {
      Slice(text: $0, tokens: tokenizer.count($0))
    }
    if rest != nil { cachedTokens = session.cache.tokens }
    total = slices.reduce(TokenCount(cachedTokens, isExact: true)) { $0 + $1.tokens }
    if total.isExact, total.tokens >= session.manifest.context { throw tooLong }
    if rest == nil {
      session.cache.forget()
      try session.engine.reset()
      session.cache.put(CachedText.Held())
    }
    done = cachedTokens
    return slices
  }

  /// Whether the cache with `rest` behind it has the tokens of `whole`. Of what is cached their number is compared: it is
  /// another one where the model spelled its answer otherwise than the tokenizer does.
  private func continues(_ whole: String, with rest: String) -> Bool {
    guard let before = session.tokenizer.tokens(before: rest, in: whole) else { return false }
    return !before.isExact || before.tokens == session.cache.tokens
  }

  private func cut(before slice: Slice) -> Answer {
    session.cache.cut(before: slice.text)
    return finish(.stopped, nil)
  }

  private func prefill(_ slice: Slice) throws {
    let before = session.clock()
    try feeding { try session.engine.prefill(slice.text) }
    prefillSeconds += session.clock() - before
    session.cache.add(slice.text, slice.tokens.tokens)
    done += slice.tokens.tokens
    listener.prefilled(done, of: total.tokens)
  }

  private func generate(_ slice: Slice) throws -> Answer {
    let most = min(max(settings.maxNewTokens, 1), room)
    let prompt = session.cache.take()?.plus(slice.text, slice.tokens.tokens)
    let stats: EngineStats
    do {
      stats = try feeding {
        try session.engine.generate(
          slice.text, maxNewTokens: most, temperature: temperature, onPiece: { self.took($0) })
      }
    } catch let error as EngineError where error.failure.kind == .contextFull {
      return finish(.contextFull, nil)
    }
    let end = end(stats, most)
    if end == .complete, !stops.isFound { lost.lastWasEnd() }
    keep(prompt, stats)
    return finish(end, stats)
  }

  /// Tokens that the context has room for. Nothing else ends an answer there; an estimate leaves it to the runtime's
  /// error.
  private var room: Int {
    total.isExact ? session.manifest.room(after: total.tokens) : session.manifest.context
  }

  /// What the runtime takes.
  private var temperature: Double { settings.temperature >= 0 ? min(settings.temperature, 1) : 0 }

  private func end(_ stats: EngineStats, _ most: Int) -> AnswerEnd {
    if stops.isFound { return .complete }
    if isCancelled { return .stopped }
    if stats.generatedTokens < most { return .complete }
    return most < settings.maxNewTokens ? .contextFull : .maxTokens
  }

  /// Remembers what the KV cache holds now: all but the last token that was sampled, which is the last piece. Where a
  /// piece before it was lost, no text says what is in the cache: the next turn begins anew.
  private func keep(_ prompt: CachedText.Held?, _ stats: EngineStats) {
    let held = pieces.dropLast()
    guard let prompt, !held.contains("") else { return }
    session.cache.put(prompt.plus(held.joined(), max(stats.generatedTokens - 1, 0)))
  }

  private func took(_ piece: String) {
    if pieces.isEmpty {
      done = total.tokens
      listener.prefilled(done, of: total.tokens)
    }
    pieces.append(piece)
    show(stops.push(lost.push(piece)))
    // The runtime loses a stop on the first token: it is repeated as long as pieces come.
    if stops.isFound || isCancelled { session.engine.stop() }
  }

  private func show(_ text: String, isAll: Bool = false) {
    said += text
    let shown = session.manifest.tokenizer.visible(of: said, isAll: isAll)
    if shown.utf8.count == visible.utf8.count { return }
    if firstTextAt == nil { firstTextAt = session.clock() }
    visible = shown
    listener.wrote(visible)
  }

  private func finish(_ end: AnswerEnd, _ stats: EngineStats?) -> Answer {
    show(stops.push(lost.finish()) + stops.flush(), isAll: true)
    let sampled = stats?.generatedTokens ?? pieces.count
    let prefilled = done - cachedTokens
    let statistics = AnswerStatistics(
      promptTokens: prefilled, cachedTokens: cachedTokens,
      answerTokens: stops.isFound ? max(sampled - 1, 0) : sampled,
      firstTextSeconds: (firstTextAt ?? session.clock()) - started,
      prefillTokensPerSecond: rate(prefilled, prefillSeconds + (stats?.prefillSeconds ?? 0)),
      decodeTokensPerSecond: rate(sampled - 1, stats?.decodeSeconds ?? 0), memoryBytes: session.memory(),
      lostCharacters: lost.runs)
    return Answer(text: visible, end: end, statistics: statistics)
  }

  private var isCancelled: Bool { cancellation.isCancelled || listener.isCancelled }

  /// Runs a call that feeds; a context that is full before the first piece means that the prompt is too long.
  private func feeding<T>(_ call: () throws -> T) throws -> T {
    do {
      return try call()
    } catch {
      session.cache.forget()
      let isFull = (error as? EngineError)?.failure.kind == .contextFull
      throw isFull && pieces.isEmpty ? tooLong : error
    }
  }

  private var tooLong: PromptError { PromptError(.tooLong, tokens: total, context: session.manifest.context) }
}
