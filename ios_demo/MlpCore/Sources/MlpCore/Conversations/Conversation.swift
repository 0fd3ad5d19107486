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

/// Conversations in `folder`, a file each (append-only JSON lines, flushed to the disk). Every change is on the disk
/// when its function returns, so that a killed process loses no message; an answer that it was about stays as
/// interrupted. Any thread may call; all block on the disk, and throw `StorageError` where it is full or gone.
public final class ConversationStore: @unchecked Sendable {
  public init(folder: URL, clock: @escaping @Sendable () -> Date = { Date() }) { fatalError("skeleton") }

  /// All conversations, the last changed first.
  public func list() -> [Conversation] { fatalError("skeleton") }

  /// Conversations whose title or messages have `text` in them, in whatever case, the last changed first.
  public func search(_ text: String) -> [Conversation] { fatalError("skeleton") }

  /// nil where there is none of that id.
  public func read(_ id: String) -> Conversation? { fatalError("skeleton") }

  /// A new conversation with the bundle in the folder named `bundle`. Its title is to be its first message.
  public func create(bundle: String, systemPrompt: String? = nil) throws -> Conversation { fatalError("skeleton") }

  /// Runs `changes` of one conversation, and writes all of them at the end: one append, or none of them.
  public func atOnce<T>(_ changes: () throws -> T) throws -> T { fatalError("skeleton") }

  /// Adds what the user wrote; in place of the message `replaces` and all after it, if given.
  @discardableResult
  public func addUser(_ id: String, _ text: String, replaces: String? = nil) throws -> ChatMessage {
    fatalError("skeleton")
  }

  /// Adds an answer that is about to be written: interrupted, until `endAnswer`; in place of the message `replaces`
  /// and all after it, if given.
  @discardableResult
  public func startAnswer(_ id: String, replaces: String? = nil) throws -> ChatMessage { fatalError("skeleton") }

  /// Keeps what there is of an answer: all of its `text` so far.
  public func updateAnswer(_ id: String, message: String, text: String) throws { fatalError("skeleton") }

  /// The answer as it stands is whole.
  public func endAnswer(_ id: String, message: String, answer: Answer) throws { fatalError("skeleton") }

  /// The answer as it stands is all there will be.
  public func endAnswer(_ id: String, message: String, end: AnswerEnd) throws { fatalError("skeleton") }

  @discardableResult
  public func rename(_ id: String, title: String) throws -> Conversation { fatalError("skeleton") }

  public func delete(_ id: String) throws { fatalError("skeleton") }

  /// `conversation` as text to share. `name` gives the heading of a role in the user's language.
  public static func export(_ conversation: Conversation, name: (Role) -> String) -> String { fatalError("skeleton") }
}

/// The disk could not be written or read. `isFull`: for want of space.
public struct StorageError: Error, Equatable {
  public var isFull: Bool
  public var detail: String

  public init(isFull: Bool, detail: String) {
    self.isFull = isFull
    self.detail = detail
  }
}
