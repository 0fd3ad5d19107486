/// What a person can ask of a text in one tap, as the model is asked. Small models follow short instructions best.
/// Not named Task, which is Swift's own.
public enum TextTask: String, Sendable, CaseIterable {
  case summarize, shorter, formal, friendlier, ask

  private var instruction: String {
    switch self {
    case .summarize: "Summarize the following text in a few sentences."
    case .shorter: rewrite("so that it is shorter")
    case .formal: rewrite("in a more formal tone")
    case .friendlier: rewrite("in a friendlier tone")
    case .ask: "Answer the question about the following text."
    }
  }

  /// The turns that ask this of `text`; `question` is for `ask` alone.
  public func turns(_ text: String, question: String = "") -> [Turn] {
    var parts = [instruction, text.trimmed(\.isPythonSpace)]
    if self == .ask { parts.append("Question: \(question.trimmed(\.isPythonSpace))") }
    return [Turn(.user, parts.filter { !$0.isEmpty }.joined(separator: "\n\n"))]
  }
}

private func rewrite(_ how: String) -> String {
  "Rewrite the following text \(how). Keep its meaning. Answer with the new text only."
}
