import Foundation

/// What is said of an answer.
public enum AnswerTexts {
  /// How an answer of `text` ended; nil if well.
  public static func end(_ end: AnswerEnd?, text answer: String) -> String? {
    switch end {
    case nil, .complete: answer.isBlank ? text("end.empty") : nil
    case .stopped: text("end.stopped")
    case .maxTokens: text("end.maxTokens")
    case .contextFull: text("end.contextFull")
    case .failed: text("end.failed")
    case .interrupted: text(answer.isBlank ? "end.interruptedEmpty" : "end.interrupted")
    }
  }

  /// "35 tokens · 41.2 tok/s · first after 0.60 s"; nil where nothing was generated.
  public static func line(_ statistics: AnswerStatistics) -> String? {
    let tokens = statistics.answerTokens
    if tokens == 0 { return nil }
    let speed = statistics.decodeTokensPerSecond.map { text("stat.speed", formatted($0, digits: 1)) }
    let parts = [
      tokens == 1 ? text("stat.token") : text("stat.tokens", formatted(tokens)), speed,
      text("stat.first", seconds(statistics.firstTextSeconds)),
    ]
    return parts.compactMap { $0 }.joined(separator: " · ")
  }

  /// How many characters the runtime lost; nil if none.
  public static func lost(_ statistics: AnswerStatistics) -> String? {
    statistics.lostCharacters == 0 ? nil : text("stat.lost", formatted(statistics.lostCharacters))
  }

  /// All figures, a line each.
  public static func details(_ statistics: AnswerStatistics) -> String {
    let memory = statistics.memoryBytes
    let lines = [
      text("stat.prompt", formatted(statistics.promptTokens)),
      text("stat.cached", formatted(statistics.cachedTokens)),
      text("stat.answer", formatted(statistics.answerTokens)),
      text("stat.firstToken", seconds(statistics.firstTextSeconds)),
      statistics.prefillTokensPerSecond.map { text("stat.prefill", formatted($0, digits: 1)) },
      statistics.decodeTokensPerSecond.map { text("stat.decode", formatted($0, digits: 1)) },
      memory > 0 ? text("stat.memory", formattedSize(memory)) : nil,
    ]
    return lines.compactMap { $0 }.joined(separator: "\n")
  }

  /// How an answer of `text` ended, statistics and what was lost, a line each; empty where nothing is to be said.
  static func about(_ end: AnswerEnd?, text: String, _ statistics: AnswerStatistics?) -> String {
    let lines = [self.end(end, text: text), statistics.flatMap(line), statistics.flatMap(lost)]
    return lines.compactMap { $0 }.joined(separator: "\n")
  }

  private static func seconds(_ value: Double) -> String { formatted(value, digits: value < 1 ? 2 : 1) }
}
