public enum Role: String, Sendable, CaseIterable { case system, user, assistant }

/// One turn as the model sees it.
public struct Turn: Equatable, Sendable {
  public var role: Role
  public var content: String

  public init(_ role: Role, _ content: String) {
    self.role = role
    self.content = content
  }
}

/// A chat template as strings: `chat` of the manifest. `compose` of mlp_export/text/chat.py is the reference. What may be
/// absent there has a default here.
public struct ChatFormat: Equatable, Sendable {
  /// What is stripped from an end of a text.
  public enum Trim: String, Sendable, CaseIterable {
    case none, newlines, whitespace

    static func of(_ trim: Bool) -> Trim { trim ? .whitespace : .none }

    func drops(_ scalar: Unicode.Scalar) -> Bool {
      switch self {
      case .none: false
      case .newlines: scalar == "\n"
      case .whitespace: scalar.isPythonSpace
      }
    }
  }

  public var bos: String
  public var systemPrefix: String?
  public var systemSuffix: String?
  public var userPrefix: String
  public var userSuffix: String
  public var assistantPrefix: String  // before an earlier answer
  public var assistantSuffix: String
  public var defaultSystem: String?
  public var trim: Bool
  public var stop: [String]
  public var generationPrompt: String  // where the assistant is to speak
  public var reasoningEnd: String?  // of an answer, all up to and with the last one of it is dropped
  public var reasoningTrim: Trim  // what is stripped from the start of what is left then
  public var answerTrimStart: Trim  // what is stripped from an answer, after that
  public var answerTrimEnd: Trim

  public init(
    bos: String, systemPrefix: String?, systemSuffix: String?, userPrefix: String, userSuffix: String,
    assistantPrefix: String, assistantSuffix: String, defaultSystem: String?, trim: Bool, stop: [String],
    generationPrompt: String? = nil, reasoningEnd: String? = nil, reasoningTrim: Trim? = nil,
    answerTrimStart: Trim? = nil, answerTrimEnd: Trim? = nil
  ) {
    self.bos = bos
    self.systemPrefix = systemPrefix
    self.systemSuffix = systemSuffix
    self.userPrefix = userPrefix
    self.userSuffix = userSuffix
    self.assistantPrefix = assistantPrefix
    self.assistantSuffix = assistantSuffix
    self.defaultSystem = defaultSystem
    self.trim = trim
    self.stop = stop
    self.generationPrompt = generationPrompt ?? assistantPrefix
    self.reasoningEnd = reasoningEnd
    self.reasoningTrim = reasoningTrim ?? .none
    self.answerTrimStart = answerTrimStart ?? .of(trim)
    self.answerTrimEnd = answerTrimEnd ?? .of(trim)
  }

  public var takesSystem: Bool { systemPrefix != nil && systemSuffix != nil }

  /// What the template renders; with `generate`, up to where the assistant is to speak.
  ///
  /// Throws `PromptError` for a system message where the template takes none.
  public func compose(_ turns: [Turn], generate: Bool = true) throws -> String {
    var text = bos
    if let defaultSystem, turns.first?.role != .system { try append(Turn(.system, defaultSystem), to: &text) }
    for turn in turns { try append(turn, to: &text) }
    if generate { text += generationPrompt }
    return text
  }

  private func append(_ turn: Turn, to text: inout String) throws {
    switch turn.role {
    case .system:
      guard let systemPrefix, let systemSuffix else { throw PromptError(.noSystemRole) }
      text += systemPrefix + message(turn.content) + systemSuffix
    case .user: text += userPrefix + message(turn.content) + userSuffix
    case .assistant: text += assistantPrefix + answer(turn.content) + assistantSuffix
    }
  }

  private func message(_ text: String) -> String {
    let drops = Trim.of(trim).drops
    return text.trimmed(start: drops, end: drops)
  }

  private func answer(_ text: String) -> String {
    var said = text
    if let reasoningEnd, let behind = said.behindLast(reasoningEnd) {
      said = behind.trimmed(start: reasoningTrim.drops, end: Trim.none.drops)
    }
    return said.trimmed(start: answerTrimStart.drops, end: answerTrimEnd.drops)
  }
}
