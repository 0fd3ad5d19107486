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

/// A chat template as strings: `chat` of the manifest. `compose` of mlp_export/text/chat.py is the reference.
public struct ChatFormat: Equatable, Sendable {
  public var bos: String
  public var systemPrefix: String?
  public var systemSuffix: String?
  public var userPrefix: String
  public var userSuffix: String
  public var assistantPrefix: String
  public var assistantSuffix: String
  public var defaultSystem: String?
  public var trim: Bool
  public var stop: [String]

  public init(
    bos: String, systemPrefix: String?, systemSuffix: String?, userPrefix: String, userSuffix: String,
    assistantPrefix: String, assistantSuffix: String, defaultSystem: String?, trim: Bool, stop: [String]
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
  }

  public var takesSystem: Bool { systemPrefix != nil && systemSuffix != nil }

  /// What the template renders; with `generate`, up to where the assistant is to speak. Turns whose index and content
  /// are in `asAnswered` are not trimmed: the model wrote them so.
  ///
  /// Throws `PromptError` for a system message where the template takes none.
  public func compose(
    _ turns: [Turn], generate: Bool = true, asAnswered: [Int: String] = [:]
  ) throws -> String {
    var text = bos
    if let defaultSystem, turns.first?.role != .system { try append(Turn(.system, defaultSystem), trim, to: &text) }
    for (index, turn) in turns.enumerated() {
      let isAsAnswered = asAnswered[index].map { $0.utf8.elementsEqual(turn.content.utf8) } ?? false
      try append(turn, trim && !isAsAnswered, to: &text)
    }
    if generate { text += assistantPrefix }
    return text
  }

  private func append(_ turn: Turn, _ trims: Bool, to text: inout String) throws {
    let (prefix, suffix): (String, String)
    switch turn.role {
    case .system:
      guard let systemPrefix, let systemSuffix else { throw PromptError(.noSystemRole) }
      (prefix, suffix) = (systemPrefix, systemSuffix)
    case .user: (prefix, suffix) = (userPrefix, userSuffix)
    case .assistant: (prefix, suffix) = (assistantPrefix, assistantSuffix)
    }
    text += prefix
    text += trims ? turn.content.trimmed(\.isPythonSpace) : turn.content
    text += suffix
  }
}
