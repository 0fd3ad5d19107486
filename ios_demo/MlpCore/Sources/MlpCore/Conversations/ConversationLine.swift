import Foundation

// The lines that the Android app writes, key by key: a conversation can move from one to the other. Its reader wants
// each key to be there, null where there is nothing to say.

extension ConversationChange {
  /// nil for a line that is damaged, or that a later version wrote.
  init?(line: Data) {
    guard let change = try? JSONDecoder().decode(Self.self, from: line) else { return nil }
    self = change
  }

  /// JSON without a line break.
  func line() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return try encoder.encode(self)
  }
}

private enum Key: String, CodingKey {
  case time, change, id, title, bundle, message, role, text, end, statistics, replaces
  case systemPrompt = "system_prompt"
}

private enum Name: String, Codable { case start, add, more, end, rename }

extension ConversationChange: Codable {
  init(from decoder: any Decoder) throws {
    let json = try decoder.container(keyedBy: Key.self)
    let kind: Kind
    switch try json.decode(Name.self, forKey: .change) {
    case .start:
      kind = .start(
        id: try json.decode(String.self, forKey: .id), title: try json.decode(String.self, forKey: .title),
        bundle: try json.decode(String.self, forKey: .bundle),
        systemPrompt: try json.decodeIfPresent(String.self, forKey: .systemPrompt))
    case .add:
      // An added answer has no statistics yet: Android's are null here, too.
      kind = .add(
        message: try json.decode(String.self, forKey: .message),
        role: try role(named: try json.decode(String.self, forKey: .role)),
        text: try json.decode(String.self, forKey: .text), end: try json.decodeIfPresent(AnswerEnd.self, forKey: .end),
        replaces: try json.decodeIfPresent(String.self, forKey: .replaces))
    case .more:
      kind = .more(
        message: try json.decode(String.self, forKey: .message), text: try json.decode(String.self, forKey: .text))
    case .end:
      kind = .end(
        message: try json.decode(String.self, forKey: .message), try json.decode(AnswerEnd.self, forKey: .end),
        try json.decodeIfPresent(StoredStatistics.self, forKey: .statistics)?.statistics)
    case .rename: kind = .rename(title: try json.decode(String.self, forKey: .title))
    }
    self.init(try json.decode(Int64.self, forKey: .time), kind)
  }

  func encode(to encoder: any Encoder) throws {
    var json = encoder.container(keyedBy: Key.self)
    try json.encode(time, forKey: .time)
    switch kind {
    case .start(let id, let title, let bundle, let systemPrompt):
      try json.encode(Name.start, forKey: .change)
      try json.encode(id, forKey: .id)
      try json.encode(title, forKey: .title)
      try json.encode(bundle, forKey: .bundle)
      try json.encode(systemPrompt, forKey: .systemPrompt)
    case .add(let message, let role, let text, let end, let replaces):
      try json.encode(Name.add, forKey: .change)
      try json.encode(message, forKey: .message)
      try json.encode(storedName(role), forKey: .role)
      try json.encode(text, forKey: .text)
      try json.encode(end, forKey: .end)
      try json.encodeNil(forKey: .statistics)
      try json.encodeIfPresent(replaces, forKey: .replaces)
    case .more(let message, let text):
      try json.encode(Name.more, forKey: .change)
      try json.encode(message, forKey: .message)
      try json.encode(text, forKey: .text)
    case .end(let message, let end, let statistics):
      try json.encode(Name.end, forKey: .change)
      try json.encode(message, forKey: .message)
      try json.encode(end, forKey: .end)
      try json.encode(statistics.map(StoredStatistics.init), forKey: .statistics)
    case .rename(let title):
      try json.encode(Name.rename, forKey: .change)
      try json.encode(title, forKey: .title)
    }
  }
}

extension AnswerEnd: Codable {}

private func storedName(_ role: Role) -> String { role.rawValue.uppercased() }

private func role(named name: String) throws -> Role {
  guard let role = Role.allCases.first(where: { storedName($0) == name }) else { throw CocoaError(.coderReadCorrupt) }
  return role
}

extension AnswerStatistics {
  /// As it is read again: the file has milliseconds, and no infinite rate.
  var asStored: AnswerStatistics { StoredStatistics(self).statistics }
}

private struct StoredStatistics: Codable {
  private enum CodingKeys: String, CodingKey {
    case promptTokens = "prompt_tokens"
    case cachedTokens = "cached_tokens"
    case answerTokens = "answer_tokens"
    case firstTextMilliseconds = "first_token_ms"
    case prefillTokensPerSecond = "prefill_tok_s"
    case decodeTokensPerSecond = "decode_tok_s"
    case memoryBytes = "memory_bytes"
    case lostCharacters = "lost_characters"
  }

  var statistics: AnswerStatistics

  init(_ statistics: AnswerStatistics) {
    self.statistics = statistics
    self.statistics.firstTextSeconds = (statistics.firstTextSeconds * 1000).rounded() / 1000
    self.statistics.prefillTokensPerSecond = statistics.prefillTokensPerSecond.flatMap { $0.isFinite ? $0 : nil }
    self.statistics.decodeTokensPerSecond = statistics.decodeTokensPerSecond.flatMap { $0.isFinite ? $0 : nil }
  }

  init(from decoder: any Decoder) throws {
    let json = try decoder.container(keyedBy: CodingKeys.self)
    statistics = AnswerStatistics(
      promptTokens: try json.decode(Int.self, forKey: .promptTokens),
      cachedTokens: try json.decode(Int.self, forKey: .cachedTokens),
      answerTokens: try json.decode(Int.self, forKey: .answerTokens),
      firstTextSeconds: Double(try json.decode(Int64.self, forKey: .firstTextMilliseconds)) / 1000,
      prefillTokensPerSecond: try json.decodeIfPresent(Double.self, forKey: .prefillTokensPerSecond),
      decodeTokensPerSecond: try json.decodeIfPresent(Double.self, forKey: .decodeTokensPerSecond),
      memoryBytes: try json.decode(Int64.self, forKey: .memoryBytes),
      lostCharacters: try json.decodeIfPresent(Int.self, forKey: .lostCharacters) ?? 0)  // Android has none
  }

  func encode(to encoder: any Encoder) throws {
    var json = encoder.container(keyedBy: CodingKeys.self)
    try json.encode(statistics.promptTokens, forKey: .promptTokens)
    try json.encode(statistics.cachedTokens, forKey: .cachedTokens)
    try json.encode(statistics.answerTokens, forKey: .answerTokens)
    try json.encode(Int64(statistics.firstTextSeconds * 1000 + 0.5), forKey: .firstTextMilliseconds)
    try json.encode(statistics.prefillTokensPerSecond, forKey: .prefillTokensPerSecond)
    try json.encode(statistics.decodeTokensPerSecond, forKey: .decodeTokensPerSecond)
    try json.encode(statistics.memoryBytes, forKey: .memoryBytes)
    try json.encode(statistics.lostCharacters, forKey: .lostCharacters)
  }
}
