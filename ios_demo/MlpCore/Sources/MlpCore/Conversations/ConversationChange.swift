import Foundation

/// One change of a conversation: a line of its file. `time` in milliseconds since the epoch, as the file has it.
struct ConversationChange: Equatable {
  enum Kind: Equatable {
    case start(id: String, title: String, bundle: String, systemPrompt: String?)
    /// Drops the message `replaces`, if given, and all after it. One change, so that no kill loses both.
    case add(message: String, role: Role, text: String, end: AnswerEnd?, replaces: String?)
    /// `text` is what came since the last one: an answer of an hour must not be written anew each second.
    case more(message: String, text: String)
    case end(message: String, AnswerEnd, AnswerStatistics?)
    case rename(title: String)
  }

  var time: Int64
  var kind: Kind

  init(_ time: Int64, _ kind: Kind) {
    self.time = time
    self.kind = kind
  }

  var date: Date { Date(timeIntervalSince1970: Double(time) / 1000) }

  /// `conversation` after this change; nil before there is one.
  func applied(to conversation: Conversation?) -> Conversation? {
    if case .start(let id, let title, let bundle, let systemPrompt) = kind {
      return Conversation(
        id: id, title: title, bundle: bundle, systemPrompt: systemPrompt, created: date, changed: date, messages: [])
    }
    guard var result = conversation else { return nil }
    result.changed = date
    switch kind {
    case .start: break
    case .add(let message, let role, let text, let end, let replaces):
      if let replaces, let first = result.messages.firstIndex(where: { $0.id == replaces }) {
        result.messages.removeSubrange(first...)
      }
      result.messages.append(ChatMessage(id: message, role: role, text: text, time: date, end: end))
    case .more(let message, let text):
      result.change(message) { $0.text += text }
    case .end(let message, let end, let statistics):
      result.change(message) {
        $0.end = end
        $0.statistics = statistics
      }
    case .rename(let title): result.title = title
    }
    return result
  }
}

extension Conversation {
  fileprivate mutating func change(_ id: String, _ change: (inout ChatMessage) -> Void) {
    for index in messages.indices where messages[index].id == id { change(&messages[index]) }
  }
}
