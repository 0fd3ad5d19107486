import Foundation

/// A stored conversation: what the screens show and what the model is given.
public struct Conversation: Equatable, Sendable, Identifiable {
  public var id: String
  public var title: String
  public var bundle: String  // the folder's name
  public var systemPrompt: String?  // nil: the template's own
  public var created: Date
  public var changed: Date
  public var messages: [ChatMessage]
}

public struct ChatMessage: Equatable, Sendable, Identifiable {
  public var id: String
  public var role: Role
  public var text: String
  public var time: Date
  public var end: AnswerEnd?  // of an answer
  public var statistics: AnswerStatistics?
}
