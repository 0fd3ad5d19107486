import MlpFixtures
import XCTest

@testable import MlpCore

let stop = "<|im_end|>"

func user(_ text: String) -> Turn { Turn(.user, text) }
func assistant(_ text: String) -> Turn { Turn(.assistant, text) }
func system(_ text: String) -> Turn { Turn(.system, text) }

/// What a session told, and when it is to be cancelled; any thread may look.
final class RecordingListener: AnswerListener, @unchecked Sendable {
  private let lock = NSLock()
  private var told: (shown: [String], prefilled: [[Int]]) = ([], [])
  private let cancelsAtText: (String) -> Bool
  private let cancelsAtPrefill: (Int) -> Bool
  private var cancelled = false

  init(
    cancelsAtText: @escaping (String) -> Bool = { _ in false },
    cancelsAtPrefill: @escaping (Int) -> Bool = { _ in false }
  ) {
    self.cancelsAtText = cancelsAtText
    self.cancelsAtPrefill = cancelsAtPrefill
  }

  var shown: [String] { lock.withLock { told.shown } }
  var prefilled: [[Int]] { lock.withLock { told.prefilled } }
  var isCancelled: Bool { lock.withLock { cancelled } }

  func prefilled(_ done: Int, of total: Int) {
    lock.withLock {
      told.prefilled.append([done, total])
      if cancelsAtPrefill(done) { cancelled = true }
    }
  }

  func wrote(_ text: String) {
    lock.withLock {
      told.shown.append(text)
      if cancelsAtText(text) { cancelled = true }
    }
  }
}

/// Gives 1, 2, 3, ... thousandths of a second.
private final class StepClock: @unchecked Sendable {
  private let lock = NSLock()
  private var now = 0.0

  func tick() -> Double {
    lock.withLock {
      now += 0.001
      return now
    }
  }
}

/// A `WordTokenizer` that counts otherwise.
struct CountingTokenizer: Tokenizer {
  var inexactBecause: String?
  var counts: @Sendable (String) -> TokenCount

  func count(_ text: String) -> TokenCount { counts(text) }
  func tokens(before rest: String, in whole: String) -> TokenCount? {
    let (all, own) = (counts(whole), counts(rest))
    return TokenCount(all.tokens - own.tokens, isExact: all.isExact)
  }
  func special(in message: String) -> String? { WordTokenizer().special(in: message) }
  func spelling(_ id: Int) -> String? { WordTokenizer().spelling(id) }
  func slices(_ text: String, size: Int) -> [String] { WordTokenizer().slices(text, size: size) }
}

/// A session on a fake engine, and short ways to ask it.
class ChatSessionTestCase: XCTestCase {
  let engine = FakeEngine()
  let listener = RecordingListener()

  func session(
    _ manifest: Manifest = manifest(), _ engine: FakeEngine? = nil, _ tokenizer: Tokenizer = WordTokenizer()
  ) -> ChatSession {
    let clock = StepClock()
    return ChatSession(
      engine: engine ?? self.engine, manifest: manifest, tokenizer: tokenizer, clock: { clock.tick() },
      memory: { 77 })
  }

  func words(_ text: String) -> Int { FakeEngine.words(text).count }

  var resets: Int { engine.calls.count { $0 == .reset } }
  var stops: Int { engine.calls.count { $0 == .stop } }

  /// Text, number of new tokens and temperature of each `generate`.
  var generated: [(text: String, most: Int, temperature: Double)] {
    engine.calls.compactMap { call in
      if case .generate(let text, let most, let temperature) = call { (text, most, temperature) } else { nil }
    }
  }

  var slices: [String] {
    engine.calls.compactMap { call in if case .prefill(let text) = call { text } else { nil } }
  }
}

extension ChatSession {
  @discardableResult
  func ask(
    _ turns: Turn..., settings: GenerationSettings = .init(), listener: AnswerListener = RecordingListener()
  ) throws -> Answer {
    try answer(turns, settings, listener)
  }
}
