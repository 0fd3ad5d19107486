import Foundation

/// What was asked about a document and answered. Stored apart from the document, which comes with the first question.
public struct DocumentTalk: Equatable, Sendable {
  /// What the next question goes on from.
  private(set) var turns: [Turn] = []

  /// What is shown.
  public private(set) var messages: [ChatMessage] = []

  private var first: (task: TextTask, question: String)?

  public static func == (one: DocumentTalk, other: DocumentTalk) -> Bool {
    one.turns == other.turns && one.messages == other.messages
  }

  init() {}

  /// The turns that ask `question` about `document`, which comes with the first one only.
  mutating func ask(_ document: String, _ question: String, _ task: TextTask) -> [Turn] {
    if !turns.isEmpty { return turns + [Turn(.user, question)] }
    first = (task, question)
    return task.turns(document, question: question)
  }

  /// Shows what a person asks.
  mutating func asked(_ question: String) { show(.user, question) }

  /// `answer` came to `request`.
  mutating func answered(_ request: [Turn], _ answer: Answer) {
    show(.assistant, answer.text, end: answer.end, statistics: answer.statistics)
    if answer.text.isBlank { return }  // nothing to go on from
    turns = request + [Turn(.assistant, answer.text)]
  }

  /// Takes the last question back, whose answer failed.
  mutating func takeBack() -> String { messages.popLast()?.text ?? "" }

  private mutating func show(
    _ role: Role, _ text: String, end: AnswerEnd? = nil, statistics: AnswerStatistics? = nil
  ) {
    messages.append(
      ChatMessage(
        id: "\(messages.count)", role: role, text: text, time: Date(), end: end, statistics: statistics))
  }
}

extension DocumentTalk {
  /// What is stored of it: statistics are not.
  struct Saved: Codable, Equatable {
    struct Message: Codable, Equatable {
      var role: String
      var text: String
      var end: String?
    }

    var task: String
    var question: String
    var said: [String]  // answers and further questions by turns
    var shown: [Message]
  }

  /// nil where nothing was answered.
  var saved: Saved? {
    guard let first, !turns.isEmpty else { return nil }
    let said = turns.dropFirst(first.task.turns("", question: first.question).count).map(\.content)
    // A question whose answer is not there yet is asked again by whoever wants it.
    let answered = messages.last?.role == .user ? messages.dropLast() : messages[...]
    let shown = answered.map { Saved.Message(role: $0.role.rawValue, text: $0.text, end: $0.end?.rawValue) }
    return Saved(task: first.task.rawValue, question: first.question, said: said, shown: shown)
  }

  /// Goes on from what was `saved` of the talk about `document`.
  init(_ saved: Saved, document: String) {
    guard let task = TextTask(rawValue: saved.task) else { return }
    turns = ask(document, saved.question, task)
    for (index, text) in saved.said.enumerated() {
      turns.append(Turn(index.isMultiple(of: 2) ? .assistant : .user, text))
    }
    for message in saved.shown {
      guard let role = Role(rawValue: message.role) else { continue }
      show(role, message.text, end: message.end.flatMap(AnswerEnd.init(rawValue:)))
    }
  }
}
