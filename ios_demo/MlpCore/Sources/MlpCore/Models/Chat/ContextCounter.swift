import Foundation

/// Counts the tokens of conversations away from the main thread.
final class ContextCounter: Sendable {
  private let tokenizers: @Sendable (ModelBundle) -> Tokenizer
  private let queue = DispatchQueue(label: "counting", qos: .utility)

  init(_ tokenizers: @escaping @Sendable (ModelBundle) -> Tokenizer) { self.tokenizers = tokenizers }

  /// Tokens of `turns` as the model will be given them; nil where the task was cancelled before its turn came: each key
  /// of a draft asks, and a count may take longer.
  func count(_ bundle: ModelBundle, system: String?, _ turns: [Turn]) async -> TokenCount? {
    let cancellation = Cancellation()
    return await withTaskCancellationHandler {
      await run(on: queue) { cancellation.isCancelled ? nil : self.tokens(bundle, system, turns) }
    } onCancel: {
      cancellation.cancel()
    }
  }

  /// The oldest of `messages` with which a conversation may go on so that half of the context is free again: a user's,
  /// and at least the last one is kept. nil where that one alone does not fit.
  func cut(_ bundle: ModelBundle, system: String?, _ messages: [ChatMessage]) async -> ChatMessage? {
    await run(on: queue) {
      let starts = messages.indices.filter { messages[$0].role == .user }
      func tokens(from start: Int) -> Int { self.tokens(bundle, system, turns(messages[start...])).tokens }
      let context = bundle.manifest.context
      let start =
        starts.dropFirst().first { tokens(from: $0) <= context / 2 }
        ?? starts.last.flatMap { tokens(from: $0) < context ? $0 : nil }
      return start.map { messages[$0] }
    }
  }

  private func tokens(_ bundle: ModelBundle, _ system: String?, _ turns: [Turn]) -> TokenCount {
    let settings = GenerationSettings(systemPrompt: system)
    // What is refused is refused for another reason than its length.
    return (try? usedTokens(bundle.manifest, tokenizers(bundle), turns, settings)) ?? TokenCount(0, isExact: false)
  }
}

/// `messages` as the model is given them: without empty answers.
func turns(_ messages: some Sequence<ChatMessage>) -> [Turn] {
  messages.filter { !$0.text.isBlank }.map { Turn($0.role, $0.text) }
}
