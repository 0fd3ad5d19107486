import MlpFixtures
import XCTest

@testable import MlpCore

/// The habits of TextRunner that the tests of sessions stand on.
final class FakeEngineTests: XCTestCase {
  private let engine = FakeEngine()

  private func pieces(_ most: Int = 100, _ onPiece: @escaping (String) -> Void = { _ in }) throws -> [String] {
    var pieces: [String] = []
    let stats = try engine.generate("a prompt", maxNewTokens: most, temperature: 0) {
      pieces.append($0)
      onPiece($0)
    }
    XCTAssertEqual(stats.generatedTokens, pieces.count)
    return pieces
  }

  func testAnEndTokenIsSpelledAndEndsButNotAsTheFirstPiece() throws {
    engine.script("<|im_end|>", "a", "<|im_end|>", "b")
    XCTAssertEqual(try pieces(), ["<|im_end|>", "a", "<|im_end|>"])
    engine.script("a", "b")
    XCTAssertEqual(try pieces(), ["a", "b", ""], "ends with a token that has no spelling")
    engine.script("a", "b")
    XCTAssertEqual(try pieces(2), ["a", "b"])
    XCTAssertEqual(try pieces(), ["Yes", ".", "<|im_end|>"])
  }

  func testHalvesOfCharactersAreLost() throws {
    engine.script(["a", .bytes([0xF0, 0x9F]), .bytes([0x99, 0x82]), .bytes([0xC3, 0xA9]), "<|im_end|>"])
    XCTAssertEqual(try pieces(), ["a", "", "", "é", "<|im_end|>"])
  }

  func testAStopOnTheFirstPieceIsLost() throws {
    engine.script("a", "b", "c")
    XCTAssertEqual(try pieces { if $0 == "a" { self.engine.stop() } }.count, 4)
    engine.script("a", "b", "c")
    XCTAssertEqual(try pieces { if $0 == "b" { self.engine.stop() } }, ["a", "b"])
  }

  func testTheCacheHasAllButTheLastPieceAndAnEnd() throws {
    engine.script("a", "b")
    _ = try pieces(2)
    XCTAssertEqual(engine.cache, "a prompta")
    XCTAssertEqual(engine.position, 3)
    XCTAssertNoThrow(try engine.prefill(String(repeating: " w", count: 125)))
    let error = thrown(EngineError.self) { try engine.prefill(" w") }
    XCTAssertEqual(error?.failure.kind, .contextFull)
    XCTAssertEqual(engine.position, 128)
    try engine.reset()
    XCTAssertEqual(engine.position, 0)
  }

  func testWhatTheRuntimeRefuses() {
    for (text, most, temperature) in [("", 1, 0), ("a", 0, 0), ("a", 1, 1.1), ("a", 1, -0.1), ("a", 1, .nan)] {
      XCTAssertNotNil(
        thrown(EngineError.self) {
          try engine.generate(text, maxNewTokens: most, temperature: temperature) { _ in }
        })
    }
  }

  func testWords() {
    XCTAssertEqual(
      FakeEngine.words("<|im_start|>user\nHi, you_2!  é<|x"),
      ["<|im_start|>", "user", "\n", "Hi", ",", " you_2", "!", " ", " é", "<", "|", "x"])
    XCTAssertEqual(WordTokenizer().slices("a b c", size: 2), ["a b", " c"])
    XCTAssertEqual(WordTokenizer().slices("", size: 2), [""])
  }
}
