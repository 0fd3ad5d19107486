import Foundation
import MlpCore

/// An engine that gives scripted pieces and has the habits of ExecuTorch's TextRunner: the KV cache fails beyond
/// `context`, the last piece of an answer is not in it, a `stop` before or on the first piece is lost, an end token is
/// not looked for in the first piece, and a piece that is no whole characters arrives empty. `tokens` counts tokens.
public final class FakeEngine: Engine, @unchecked Sendable {
  public enum Call: Equatable, Sendable {
    case load
    case prefill(String)
    case generate(String, maxNewTokens: Int, temperature: Double)
    case stop
    case reset
    case close
  }

  /// A token as the model samples it: text, or bytes that may be half a character.
  public enum Piece: ExpressibleByStringLiteral, Sendable {
    case text(String)
    case bytes([UInt8])

    public init(stringLiteral text: String) { self = .text(text) }

    /// As the runtime hands it over.
    var given: String {
      switch self {
      case .text(let text): text
      case .bytes(let bytes): String(validating: bytes, as: UTF8.self) ?? ""
      }
    }
  }

  private struct State {
    var calls: [Call] = []
    var scripts: [[Piece]] = []
    var otherwise: [Piece] = ["Yes", ".", "<|im_end|>"]
    var failOn: @Sendable (Call) -> (any Error)? = { _ in nil }
    var failAfterPiece: @Sendable (Int) -> (any Error)? = { _ in nil }
    var cache = ""
    var position = 0
    var isStopping = false
    var permits: Int?  // nil: nothing waits
  }

  private let context: Int
  private let ends: Set<String>
  private let tokens: @Sendable (String) -> Int
  private let lock = NSCondition()
  private var state = State()

  /// An answer ends after a piece of `ends`, unless it is the first one.
  public init(
    context: Int = 128, ends: Set<String> = ["<|im_end|>"],
    tokens: @escaping @Sendable (String) -> Int = { FakeEngine.words($0).count }
  ) {
    self.context = context
    self.ends = ends
    self.tokens = tokens
  }

  /// All calls so far, in their order.
  public var calls: [Call] {
    get { read(\.calls) }
    set { change { $0.calls = newValue } }
  }

  /// Asked before each call but stop and close: a failure to throw, or nil.
  public var failOn: @Sendable (Call) -> (any Error)? {
    get { read(\.failOn) }
    set { change { $0.failOn = newValue } }
  }

  /// Asked after each piece of an answer with its index: a failure to throw, or nil.
  public var failAfterPiece: @Sendable (Int) -> (any Error)? {
    get { read(\.failAfterPiece) }
    set { change { $0.failAfterPiece = newValue } }
  }

  /// What an answer without a script is.
  public var otherwise: [Piece] {
    get { read(\.otherwise) }
    set { change { $0.otherwise = newValue } }
  }

  /// The text in the KV cache; lost pieces are U+FFFD in it.
  public var cache: String { read(\.cache) }

  /// Tokens in the KV cache.
  public var position: Int { read(\.position) }

  /// What was fed since the calls were last cleared.
  public var fed: String {
    calls.map { call in
      switch call {
      case .prefill(let text), .generate(let text, _, _): text
      default: ""
      }
    }.joined()
  }

  /// Queues an answer. Where its pieces run out before an end token and before as many as were asked for, it ends with
  /// a token that has no spelling.
  public func script(_ pieces: Piece...) { script(pieces) }

  public func script(_ pieces: [Piece]) { change { $0.scripts.append(pieces) } }

  /// From now on loads, prefills and pieces wait for `step`.
  public func pause() { change { $0.permits = 0 } }

  /// Lets `steps` loads, prefills or pieces happen. No more than eight are saved up: a test that steps until it sees
  /// something would let all happen before it has looked.
  public func step(_ steps: Int = 1) { change { $0.permits = $0.permits.map { min($0 + steps, 8) } } }

  /// Ends `pause`.
  public func resume() { change { $0.permits = nil } }

  public func load() throws { try enter(.load) }

  public func prefill(_ text: String) throws {
    try enter(.prefill(text))
    try add(text, tokens(text))
  }

  public func generate(
    _ text: String, maxNewTokens: Int, temperature: Double, onPiece: @escaping (String) -> Void
  ) throws -> EngineStats {
    try enter(.generate(text, maxNewTokens: maxNewTokens, temperature: temperature), waits: false)
    guard !text.isEmpty, maxNewTokens > 0, (0...1).contains(temperature) else {
      throw invalid("text of \(text.utf8.count) bytes, \(maxNewTokens) new tokens, temperature \(temperature)")
    }
    try add(text, tokens(text))
    var script = change { $0.scripts.isEmpty ? $0.otherwise : $0.scripts.removeFirst() }
    script.append("")
    var given = 0
    for (index, piece) in script.prefix(maxNewTokens).enumerated() {
      wait()
      if index > 0 { try add(script[index - 1].given, 1) }
      onPiece(piece.given)
      given += 1
      if let failure = failAfterPiece(index) { throw failure }
      if index == 0 {
        change { $0.isStopping = false }
      } else if ends.contains(piece.given) || read(\.isStopping) {
        break
      }
    }
    return EngineStats(generatedTokens: given, prefillSeconds: 1, decodeSeconds: 0.1 * Double(max(given - 1, 0)))
  }

  public func stop() {
    change {
      $0.calls.append(.stop)
      $0.isStopping = true
    }
  }

  public func reset() throws {
    try enter(.reset, waits: false)
    change {
      $0.cache = ""
      $0.position = 0
    }
  }

  public func close() { change { $0.calls.append(.close) } }

  /// A token for each word with its space, mark or special token.
  public static func words(_ text: String) -> [String] { splitWords(text) }

  private func enter(_ call: Call, waits: Bool = true) throws {
    change { $0.calls.append(call) }
    if waits { wait() }
    if let failure = failOn(call) { throw failure }
  }

  private func add(_ text: String, _ count: Int) throws {
    let position = position + count
    if position > context { throw invalid("Attempted to resize a bounded tensor to \(position) elements") }
    change {
      $0.cache += text.isEmpty ? "\u{FFFD}" : text
      $0.position = position
    }
  }

  private func invalid(_ detail: String) -> EngineError {
    EngineError(engineFailure(code: 0x12, domain: "org.pytorch.executorch.llm.error", message: detail))
  }

  private func wait() {
    lock.lock()
    defer { lock.unlock() }
    while state.permits == 0 { lock.wait() }
    state.permits = state.permits.map { $0 - 1 }
  }

  private func read<T>(_ path: KeyPath<State, T>) -> T {
    lock.lock()
    defer { lock.unlock() }
    return state[keyPath: path]
  }

  @discardableResult
  private func change<T>(_ body: (inout State) -> T) -> T {
    lock.lock()
    defer {
      lock.broadcast()
      lock.unlock()
    }
    return body(&state)
  }
}

/// `<|name|>`, or letters, digits and underscores with one space before them, or one space, or one other scalar.
private func splitWords(_ text: String) -> [String] {
  let scalars = Array(text.unicodeScalars)
  var words: [String] = []
  var at = 0
  while at < scalars.count {
    let end = endOfSpecial(scalars, at) ?? endOfWord(scalars, at) ?? at + 1
    words.append(String(String.UnicodeScalarView(scalars[at..<end])))
    at = end
  }
  return words
}

private func endOfSpecial(_ scalars: [Unicode.Scalar], _ start: Int) -> Int? {
  guard scalars[start...].starts(with: "<|".unicodeScalars) else { return nil }
  let end = scalars[(start + 2)...].firstIndex { !isWord($0) } ?? scalars.count
  return end > start + 2 && scalars[end...].starts(with: "|>".unicodeScalars) ? end + 2 : nil
}

private func endOfWord(_ scalars: [Unicode.Scalar], _ start: Int) -> Int? {
  let first = scalars[start] == " " ? start + 1 : start
  let end = scalars[first...].firstIndex { !isWord($0) } ?? scalars.count
  return end > first ? end : nil
}

private func isWord(_ scalar: Unicode.Scalar) -> Bool {
  scalar.properties.isAlphabetic || scalar.properties.numericType != nil || scalar == "_"
}
