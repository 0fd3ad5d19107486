import Foundation

/// A runner whose answers are written down, with the habits of llm::TextLLMRunner (text_llm_runner.cpp and
/// text_token_generator.h of ExecuTorch 1.5). A token of a prompt is a byte of it.
public final class ScriptedRunner: NativeRunner {
  public struct Call: Equatable {
    public var prompt: String
    public var settings: RunnerSettings
    public var position: Int  // of the KV cache, before the call
  }

  /// Tokens of each call's answer, as bytes; a call takes the next one.
  public var answers: [[[UInt8]]]
  /// Tokens that the program names as ends.
  public var ends: [[UInt8]]
  public var context: Int
  public var loadError: NSError?

  public private(set) var calls: [Call] = []
  public private(set) var loads = 0
  public private(set) var stops = 0
  public private(set) var resets = 0
  public private(set) var position = 0
  private var isStopping = false

  public init(
    answers: [[String]] = [], ends: [String] = [], context: Int = 1 << 20, loadError: NSError? = nil
  ) {
    self.answers = answers.map { $0.map { Array($0.utf8) } }
    self.ends = ends.map { Array($0.utf8) }
    self.context = context
    self.loadError = loadError
  }

  public func load() throws {
    loads += 1
    if let loadError { throw loadError }
  }

  public func generate(_ prompt: String, _ settings: RunnerSettings, piece: ([UInt8]) -> Void) throws {
    calls.append(Call(prompt: prompt, settings: settings, position: position))
    guard !prompt.isEmpty else { throw failure(2) }  // InvalidState: nothing was prefilled by other means
    if settings.isEchoEnabled { piece(Array(prompt.utf8)) }
    try advance(prompt.utf8.count + settings.bosCount + settings.eosCount)
    let most = settings.maximumNewTokens == -1 ? context : min(settings.maximumNewTokens, context)
    guard most > 0 else { throw failure(18) }
    let answer = answers.isEmpty ? [] : answers.removeFirst()
    // The first token comes out of the prefill: it is greedy, no end is looked for, and a stop before now is forgotten.
    piece(answer.first ?? [])
    guard (0...1).contains(settings.temperature) else { throw failure(18) }
    isStopping = false
    for token in answer.dropFirst().prefix(most - 1) {
      try advance(1)
      piece(token)
      if isStopping || ends.contains(token) { return }
    }
  }

  public func stop() {
    stops += 1
    isStopping = true
  }

  public func reset() {
    resets += 1
    position = 0
  }

  /// The cache is addressed beyond its end: InvalidArgument.
  private func advance(_ tokens: Int) throws {
    guard position + tokens <= context else { throw failure(18) }
    position += tokens
  }

  private func failure(_ code: Int) -> NSError { NSError(domain: ErrorDomain, code: code) }
}
