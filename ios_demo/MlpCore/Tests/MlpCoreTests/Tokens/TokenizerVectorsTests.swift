import MlpFixtures
import XCTest

@testable import MlpCore

/// The ids of Hugging Face's `tokenizers`: tests/make_vectors.py.
final class TokenizerVectorsTests: XCTestCase {
  private struct Vector {
    var name: String
    var tokenizer: BpeTokenizer
    var cases: [(text: String, ids: [Int])]
  }

  private func read() throws -> [Vector] {
    let files = try TokenizerFiles()
    let json = try vectors("tokenizers.json")
    let cases = try json.list("cases").map {
      (name: try $0.string("tokenizer"), text: try $0.string("text"), ids: try $0.ints("ids", atLeast: 0))
    }
    let tokenizers = try json.fields("tokenizers")
    return try tokenizers.keys.map { name in
      let opened = try files.open(tokenizers.string(name))
      XCTAssertNil(opened.inexactBecause, name)
      let own = cases.filter { $0.name == name }.map { (text: $0.text, ids: $0.ids) }
      XCTAssertFalse(own.isEmpty, name)
      return Vector(name: name, tokenizer: try XCTUnwrap(opened as? BpeTokenizer), cases: own)
    }
  }

  func testIdsOfTokenizers() throws {
    var count = 0
    for vector in try read() {
      for (text, ids) in vector.cases {
        XCTAssertEqual(ids, vector.tokenizer.encode(text), "\(vector.name): \(text)")
        XCTAssertEqual(TokenCount(ids.count, isExact: true), vector.tokenizer.count(text))
        count += 1
      }
    }
    XCTAssertGreaterThan(count, 200)
  }

  func testSlicesHaveTheTokensOfTheWhole() throws {
    for vector in try read() {
      let text = vector.cases.map(\.text).joined()
      let ids = vector.tokenizer.encode(text)
      for size in [1, 7, 64, ids.count] {
        let slices = vector.tokenizer.slices(text, size: size)
        let label = "\(vector.name), \(size)"
        XCTAssertEqual(Array(text.utf8), Array(slices.joined().utf8), label)
        XCTAssertEqual(ids, slices.flatMap(vector.tokenizer.encode), label)
        XCTAssertFalse(slices.contains(""), label)
        if size >= ids.count { XCTAssertEqual(1, slices.count, label) }
      }
    }
  }

  func testWhatEndsATextHasItsOwnTokensThereOrIsTold() throws {
    // Where a space is put before each text, and before one that begins with a space.
    let spaced = ["Llama 2", "Metaspace", "Metaspace, words", "Metaspace, words, spelled out"]
    let splitOtherwise = [" ": ["Llama 2"], "!": spaced]
    for vector in try read() {
      let (name, tokenizer) = (vector.name, vector.tokenizer)
      let slices = tokenizer.slices(vector.cases.map(\.text).joined(), size: 7)
      for count in slices.indices {
        let tokens = slices.prefix(count).reduce(0) { $0 + tokenizer.encode($1).count }
        let before = tokenizer.tokens(before: slices.dropFirst(count).joined(), in: slices.joined())
        XCTAssertEqual(before, TokenCount(tokens, isExact: true), "\(name), \(count)")
      }
      XCTAssertEqual(tokenizer.tokens(before: "<|end|>", in: "a<|end|>"), tokenizer.count("a"), name)
      for (mark, names) in splitOtherwise {
        let before = tokenizer.tokens(before: "\(mark)<|end|>", in: "a\(mark)<|end|>")
        XCTAssertEqual(before, names.contains(name) ? nil : tokenizer.count("a"), "\(name), '\(mark)'")
      }
    }
  }

  func testTextIsReallyCut() throws {
    let vectors = try read()
    let text = String(repeating: "The river rises in the hills, and it's joined by two streams.\n", count: 20)
    // These take the whole text for one word, or change it, so that it has no place to be cut.
    let uncut = ["Llama 2", "Metaspace", "Metaspace, words, spelled out"]
    for vector in vectors where !uncut.contains(vector.name) {
      let slices = vector.tokenizer.slices(text, size: 16)
      let longest = slices.map { vector.tokenizer.count($0).tokens }.max() ?? 0
      XCTAssertGreaterThan(slices.count, 10, vector.name)
      XCTAssertLessThanOrEqual(longest, 32, vector.name)
    }
  }
}
