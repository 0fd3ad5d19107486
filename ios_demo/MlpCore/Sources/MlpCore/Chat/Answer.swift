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
