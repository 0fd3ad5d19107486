import Foundation

// What is said of answers and conversations, in the user's language.

/// How an answer ended; nil if well.
func endText(_ message: ChatMessage) -> String? {
  let isEmpty = isBlank(message.text)
  switch message.end {
  case nil, .complete: return isEmpty ? text("end.empty") : nil
  case .stopped: return text("end.stopped")
  case .maxTokens: return text("end.maxTokens")
  case .contextFull: return text("end.contextFull")
  case .failed: return text("end.failed")
  case .interrupted: return text(isEmpty ? "end.interruptedEmpty" : "end.interrupted")
  }
}

/// Says that characters are missing, and why; nil where none is.
func lostText(_ statistics: AnswerStatistics?) -> String? {
  guard let lost = statistics?.lostCharacters, lost > 0 else { return nil }
  return text("chat.lost", formatted(lost))
}

/// "35 tokens · 41.2 tok/s · first after 0.6 s"; nil where nothing was generated.
func statisticsLine(_ statistics: AnswerStatistics) -> String? {
  let tokens = statistics.answerTokens
  if tokens == 0 { return nil }
  return [
    text(tokens == 1 ? "stat.token" : "stat.tokens", formatted(tokens)),
    statistics.decodeTokensPerSecond.map { text("stat.speed", formatted($0, digits: 1)) },
    text("stat.first", formattedSeconds(statistics.firstTextSeconds)),
  ].compactMap(\.self).joined(separator: " · ")
}

/// All figures of an answer: name and value.
public struct StatisticsRow: Equatable, Sendable, Identifiable {
  public var name: String
  public var value: String
  public var id: String { name }
}

func statisticsRows(_ statistics: AnswerStatistics) -> [StatisticsRow] {
  func speed(_ value: Double?) -> String? { value.map { text("stat.speed", formatted($0, digits: 1)) } }
  let rows: [(String, String?)] = [
    ("detail.prompt", formatted(statistics.promptTokens)),
    ("detail.cached", formatted(statistics.cachedTokens)),
    ("detail.answer", formatted(statistics.answerTokens)),
    ("detail.first", text("stat.seconds", formattedSeconds(statistics.firstTextSeconds))),
    ("detail.prefill", speed(statistics.prefillTokensPerSecond)),
    ("detail.decode", speed(statistics.decodeTokensPerSecond)),
    ("detail.memory", statistics.memoryBytes > 0 ? formattedSize(statistics.memoryBytes) : nil),
    ("detail.lost", statistics.lostCharacters > 0 ? formatted(statistics.lostCharacters) : nil),
  ]
  return rows.compactMap { key, value in value.map { StatisticsRow(name: text(key), value: $0) } }
}

private func formattedSeconds(_ seconds: Double) -> String { formatted(seconds, digits: seconds < 1 ? 2 : 1) }

/// `conversation` as text to share.
func exportText(_ conversation: Conversation) -> String {
  ConversationStore.export(conversation) { role in
    switch role {
    case .system: text("settings.systemPrompt")
    case .user: text("chat.you")
    case .assistant: text("chat.model")
    }
  }
}

/// `conversation.title`, or what to call it where nothing was sent yet.
func conversationTitle(_ conversation: Conversation?) -> String {
  conversation.flatMap { $0.title.isEmpty ? nil : $0.title } ?? text("chat.new")
}
