import Foundation

/// Loads models and asks them, on a queue of its own: what `ModelHost` does away from the main thread.
final class ModelWorker: @unchecked Sendable {
  private struct Loaded {
    var bundle: ModelBundle
    var engine: Engine
    var session: ChatSession
  }

  private let engines: EngineFactory
  private let tokenizers: @Sendable (ModelBundle) -> Tokenizer
  private let memory: @Sendable () -> Int64
  private let queue = DispatchQueue(label: "model", qos: .userInitiated)

  private let lock = NSLock()
  // Under the lock. The model is changed by the queue alone.
  private var model: Loaded?
  private var isStopping = false
  private var isInterrupted = false
  private var storedRecorder: (any AnswerRecorder)?

  init(
    engines: @escaping EngineFactory, tokenizers: @escaping @Sendable (ModelBundle) -> Tokenizer,
    memory: @escaping @Sendable () -> Int64
  ) {
    self.engines = engines
    self.tokenizers = tokenizers
    self.memory = memory
  }

  var recorder: (any AnswerRecorder)? {
    get { lock.withLock { storedRecorder } }
    set { lock.withLock { storedRecorder = newValue } }
  }

  var isCancelled: Bool { lock.withLock { isStopping } }

  /// Works on `request`; `show` gets each new state on the main thread.
  func start(_ request: ModelHost.Request, show: @escaping @MainActor @Sendable (ModelHost.State) -> Void) {
    lock.withLock {
      isStopping = false
      isInterrupted = false
    }
    queue.async { self.work(request, show) }
  }

  func stop(isInterruption: Bool) {
    let session = lock.withLock {
      if isInterruption && !isStopping { isInterrupted = true }
      isStopping = true
      return model?.session
    }
    session?.cancel()
  }

  /// Frees the model of `bundle`, or any, once what runs has ended.
  func close(_ bundle: ModelBundle?) async {
    await withCheckedContinuation { done in
      queue.async {
        if bundle == nil || self.lock.withLock({ self.model?.bundle.folder }) == bundle?.folder { self.close() }
        done.resume()
      }
    }
  }

  private func work(_ request: ModelHost.Request, _ show: @escaping @MainActor @Sendable (ModelHost.State) -> Void) {
    let progress = AnswerProgress(request, self, show)
    let end: ModelHost.State
    do {
      let session = try open(request.bundle)
      progress.report()
      end = .done(request, try answer(request, session, progress))
    } catch let problem as PromptError {
      end = .failed(request, problem: problem, text: progress.text)
    } catch {
      close()  // what an engine is worth after a failure is not known; the next request loads it anew
      end = .failed(request, problem: error, text: progress.text)
    }
    recorder?.ended(request, with: end)
    DispatchQueue.main.async { show(end) }
  }

  private func answer(
    _ request: ModelHost.Request, _ session: ChatSession, _ progress: AnswerProgress
  ) throws -> Answer {
    var answer =
      isCancelled
      ? Answer(text: "", end: .stopped, statistics: .none)  // stopped while the model was loaded
      : try session.answer(request.turns, request.settings, progress)
    if answer.end == .stopped, lock.withLock({ isInterrupted }) { answer.end = .interrupted }
    return answer
  }

  private func open(_ bundle: ModelBundle) throws -> ChatSession {
    if let model = lock.withLock({ model }), model.bundle == bundle { return model.session }
    close()  // before the next one needs the memory
    let engine = try engines(bundle)
    do {
      try engine.load()
    } catch {
      engine.close()
      throw error
    }
    let session = ChatSession(
      engine: engine, manifest: bundle.manifest, tokenizer: tokenizers(bundle), memory: memory)
    lock.withLock { model = Loaded(bundle: bundle, engine: engine, session: session) }
    return session
  }

  private func close() {
    let old = lock.withLock {
      defer { model = nil }
      return model
    }
    old?.engine.close()
  }
}

extension AnswerStatistics {
  static let none = AnswerStatistics(
    promptTokens: 0, cachedTokens: 0, answerTokens: 0, firstTextSeconds: 0, prefillTokensPerSecond: nil,
    decodeTokensPerSecond: nil, memoryBytes: 0)
}

/// What a session tells of one answer, on the model's queue. Only the newest state is shown: pieces may come faster than
/// frames.
private final class AnswerProgress: AnswerListener, @unchecked Sendable {
  private let request: ModelHost.Request
  private let worker: ModelWorker
  private let show: @MainActor @Sendable (ModelHost.State) -> Void
  private var prefilled = 0
  private var total = 0
  private(set) var text = ""

  private let lock = NSLock()
  private var newest: ModelHost.State?  // under the lock; nil: shown

  init(
    _ request: ModelHost.Request, _ worker: ModelWorker,
    _ show: @escaping @MainActor @Sendable (ModelHost.State) -> Void
  ) {
    self.request = request
    self.worker = worker
    self.show = show
  }

  func prefilled(_ done: Int, of total: Int) {
    prefilled = done
    self.total = total
    report()
  }

  func wrote(_ text: String) {
    self.text = text
    worker.recorder?.wrote(request, text: text)
    report()
  }

  var isCancelled: Bool { worker.isCancelled }

  func report() {
    let isWaiting = lock.withLock {
      defer { newest = .working(request, prefilled: prefilled, total: total, text: text) }
      return newest != nil
    }
    if isWaiting { return }
    DispatchQueue.main.async { [self] in
      let state = lock.withLock {
        defer { newest = nil }
        return newest
      }
      if let state { show(state) }
    }
  }
}
