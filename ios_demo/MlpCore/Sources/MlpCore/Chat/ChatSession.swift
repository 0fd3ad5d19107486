import Foundation

/// What a user sets for each bundle.
public struct GenerationSettings: Equatable, Sendable {
  public var systemPrompt: String?  // nil: the template's own
  public var temperature: Double  // 0 to 1, which is what the runtime takes
  public var maxNewTokens: Int

  public init(systemPrompt: String? = nil, temperature: Double = 0, maxNewTokens: Int = 512) {
    self.systemPrompt = systemPrompt
    self.temperature = temperature
    self.maxNewTokens = maxNewTokens
  }
}

/// What a `ChatSession` tells while it works; called on its thread.
public protocol AnswerListener {
  /// `done` of `total` tokens of the prompt are in the KV cache.
  func prefilled(_ done: Int, of total: Int)

  /// All visible text so far: stop strings and halves of characters are held back.
  func wrote(_ text: String)

  /// True ends the answer, as `ChatSession.cancel` does; asked between slices of the prompt and at each piece.
  var isCancelled: Bool { get }
}

/// Conversations with one loaded model. Only what the KV cache does not hold is prefilled: a session remembers the text
/// in the cache, and a prompt that begins with it adds the rest. `answer` belongs to one thread, `cancel` to any.
public final class ChatSession: @unchecked Sendable {
  let engine: Engine
  let manifest: Manifest
  let tokenizer: Tokenizer
  let prompts: Prompts
  let clock: @Sendable () -> Double
  let memory: @Sendable () -> Int64
  var cache = CachedText()

  private let lock = NSLock()
  private var running: Cancellation?

  /// `clock` gives seconds, `memory` the process's resident bytes. The engine is loaded, and adds no BOS of its own:
  /// it is spelled in the text.
  public init(
    engine: Engine, manifest: Manifest, tokenizer: Tokenizer,
    clock: @escaping @Sendable () -> Double = { ProcessInfo.processInfo.systemUptime },
    memory: @escaping @Sendable () -> Int64 = { 0 }
  ) {
    self.engine = engine
    self.manifest = manifest
    self.tokenizer = tokenizer
    self.clock = clock
    self.memory = memory
    prompts = Prompts(manifest: manifest, tokenizer: tokenizer)
  }

  /// Ends the running answer, which then is stopped with the text so far. Nothing happens where none runs.
  public func cancel() {
    guard let running = lock.withLock({ running }) else { return }
    running.cancel()
    engine.stop()
  }

  /// The model's answer to `turns`, the last of which is the user's. Blocks.
  ///
  /// Throws `PromptError` for a prompt that is refused, and `EngineError`.
  public func answer(_ turns: [Turn], _ settings: GenerationSettings, _ listener: AnswerListener) throws -> Answer {
    let cancellation = Cancellation()
    lock.withLock { running = cancellation }
    defer { lock.withLock { running = nil } }
    let run = AnswerRun(self, settings, listener, cancellation)
    return try run.answer(try prompts.check(turns, settings))
  }
}

/// Whether an answer is to end; any thread may ask and tell.
final class Cancellation: @unchecked Sendable {
  private let lock = NSLock()
  private var value = false

  var isCancelled: Bool { lock.withLock { value } }

  func cancel() { lock.withLock { value = true } }
}
