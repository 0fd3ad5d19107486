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

/// How an answer ended; interrupted is what a killed or suspended process leaves. Raw values are stored.
public enum AnswerEnd: String, Sendable, CaseIterable {
  case complete = "COMPLETE"
  case stopped = "STOPPED"
  case maxTokens = "MAX_TOKENS"
  case contextFull = "CONTEXT_FULL"
  case failed = "FAILED"
  case interrupted = "INTERRUPTED"
}

public struct AnswerStatistics: Equatable, Sendable {
  public var promptTokens: Int  // that this turn added to the KV cache
  public var cachedTokens: Int  // that were there already
  public var answerTokens: Int
  public var firstTextSeconds: Double  // from asking to the first visible text
  public var prefillTokensPerSecond: Double?  // nil: too short to tell
  public var decodeTokensPerSecond: Double?
  public var memoryBytes: Int64  // of the process, resident
  public var lostCharacters: Int  // runs of tokens whose text the runtime could not give: shown as U+FFFD

  public init(
    promptTokens: Int, cachedTokens: Int, answerTokens: Int, firstTextSeconds: Double,
    prefillTokensPerSecond: Double?, decodeTokensPerSecond: Double?, memoryBytes: Int64, lostCharacters: Int = 0
  ) {
    self.promptTokens = promptTokens
    self.cachedTokens = cachedTokens
    self.answerTokens = answerTokens
    self.firstTextSeconds = firstTextSeconds
    self.prefillTokensPerSecond = prefillTokensPerSecond
    self.decodeTokensPerSecond = decodeTokensPerSecond
    self.memoryBytes = memoryBytes
    self.lostCharacters = lostCharacters
  }
}

public struct Answer: Equatable, Sendable {
  public var text: String
  public var end: AnswerEnd
  public var statistics: AnswerStatistics

  public init(text: String, end: AnswerEnd, statistics: AnswerStatistics) {
    self.text = text
    self.end = end
    self.statistics = statistics
  }
}

/// Why a prompt was refused. `tokens` and `context` are there where numbers matter.
public struct PromptError: Error, Equatable {
  public var problem: PromptProblem
  public var detail: String
  public var tokens: TokenCount?
  public var context: Int?

  public init(_ problem: PromptProblem, detail: String = "", tokens: TokenCount? = nil, context: Int? = nil) {
    self.problem = problem
    self.detail = detail
    self.tokens = tokens
    self.context = context
  }
}

public enum PromptProblem: Sendable {
  case empty  // nothing to answer
  case tooLong  // as many tokens as the context or more: no room for an answer
  case specialToken  // a message spells one; detail: its spelling
  case noSystemRole  // the chat template takes no system message
}

/// Conversations with one loaded model. Only what the KV cache does not hold is prefilled: a session remembers the text
/// in the cache, and a prompt that begins with it adds the rest. `answer` belongs to one thread, `cancel` to any.
public final class ChatSession: @unchecked Sendable {
  /// `clock` gives seconds, `memory` the process's resident bytes. The engine is loaded, and adds no BOS of its own:
  /// it is spelled in the text.
  public init(
    engine: Engine, manifest: Manifest, tokenizer: Tokenizer,
    clock: @escaping @Sendable () -> Double = { ProcessInfo.processInfo.systemUptime },
    memory: @escaping @Sendable () -> Int64 = { 0 }
  ) { fatalError("skeleton") }

  /// Ends the running answer, which then is stopped with the text so far. Nothing happens where none runs.
  public func cancel() { fatalError("skeleton") }

  /// The model's answer to `turns`, the last of which is the user's. Blocks.
  ///
  /// Throws `PromptError` for a prompt that is refused, and `EngineError`.
  public func answer(_ turns: [Turn], _ settings: GenerationSettings, _ listener: AnswerListener) throws -> Answer {
    fatalError("skeleton")
  }
}

/// Tokens that `turns` take of the context as a `ChatSession` would feed them, with the start of the answer that the
/// user's last one is due. Throws `PromptError` for a system message where the template takes none.
public func usedTokens(
  _ manifest: Manifest, _ tokenizer: Tokenizer, _ turns: [Turn], _ settings: GenerationSettings = .init()
) throws -> TokenCount { fatalError("skeleton") }
