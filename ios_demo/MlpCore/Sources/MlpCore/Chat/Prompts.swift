/// Why a prompt was refused. `tokens` and `context` are there where numbers matter.
public struct PromptError: Error, Equatable {
  public var problem: PromptProblem
  public var detail: String
  public var tokens: TokenCount?
  public var context: Int?

  public init(_ problem: PromptProblem, detail: String = "", tokens: TokenCount? = nil, context: Int? = nil) {
    self.problem = problem
    self.detail = detail
    self.tokens = tokens
    self.context = context
  }
}

public enum PromptProblem: Sendable {
  case empty  // nothing to answer
  case tooLong  // as many tokens as the context or more: no room for an answer
  case specialToken  // a message spells one; detail: its spelling
  case noSystemRole  // the chat template takes no system message
}

/// Tokens that `turns` take of the context as a `ChatSession` would feed them, with the start of the answer that the
/// user's last one is due. Throws `PromptError` for a system message where the template takes none.
public func usedTokens(
  _ manifest: Manifest, _ tokenizer: Tokenizer, _ turns: [Turn], _ settings: GenerationSettings = .init()
) throws -> TokenCount {
  let prompts = Prompts(manifest: manifest, tokenizer: tokenizer)
  let isDue = turns.last?.role == .user
  return tokenizer.count(try prompts.compose(prompts.turns(turns, settings), generate: isDue))
}

/// Turns as the text that the model is given. A model without a chat format continues the turns' plain text.
struct Prompts: Sendable {
  let manifest: Manifest
  let tokenizer: Tokenizer

  /// `turns` as the model is given them. Throws `PromptError` where they cannot be answered.
  func check(_ turns: [Turn], _ settings: GenerationSettings) throws -> [Turn] {
    guard let last = turns.last, last.role == .user, !last.content.isBlank else { throw PromptError(.empty) }
    let all = self.turns(turns, settings)
    for turn in all where turn.role != .assistant {
      if let special = tokenizer.special(in: turn.content) { throw PromptError(.specialToken, detail: special) }
    }
    return all
  }

  /// `turns` as the model is given them: with the system message of `settings`, unless they have one, and normalized.
  func turns(_ turns: [Turn], _ settings: GenerationSettings) -> [Turn] {
    withSystem(turns, settings).map { Turn($0.role, manifest.tokenizer.normalized($0.content)) }
  }

  private func withSystem(_ turns: [Turn], _ settings: GenerationSettings) -> [Turn] {
    guard let system = settings.systemPrompt, turns.first?.role != .system else { return turns }
    if system.isBlank, manifest.chat?.takesSystem != true { return turns }
    return [Turn(.system, system)] + turns
  }

  func compose(_ turns: [Turn], generate: Bool) throws -> String {
    if let chat = manifest.chat { return try chat.compose(turns, generate: generate) }
    if turns.contains(where: { $0.role == .system }) { throw PromptError(.noSystemRole) }
    let bos = manifest.tokenizer.addBos ? tokenizer.spelling(manifest.tokenizer.bosId) ?? "" : ""
    return bos + turns.map(\.content).joined()
  }

  /// Texts that end an answer: those of the chat format, and the end tokens', which are all there is without one.
  var stops: [String] {
    (manifest.chat?.stop ?? []) + manifest.tokenizer.eosIds.compactMap(tokenizer.spelling)
  }
}
