import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

final class TokenizerTests: XCTestCase {
  private var files: TokenizerFiles?
  private var known = Json.null

  override func setUpWithError() throws {
    files = try TokenizerFiles()
    known = try Json.parse(TokenizerFiles.known("SmolLM2"))
  }

  override func tearDown() { files = nil }

  private func open(_ text: String) throws -> Tokenizer { try XCTUnwrap(files).open(text) }

  /// The known tokenizer with `change` applied to the value at `path`.
  private func changed(_ path: [String], _ change: (inout Json) -> Void) throws -> Tokenizer {
    var json = known
    json.change(path[...], change)
    return try open(json.encoded())
  }

  private func exact(_ text: String) throws -> BpeTokenizer { try XCTUnwrap(try open(text) as? BpeTokenizer) }

  func testSpecialTokens() throws {
    let tokenizer = try changed(["added_tokens", "0", "special"]) { $0 = false }
    XCTAssertNil(tokenizer.inexactBecause)
    XCTAssertEqual("<|end|>", tokenizer.special(in: "say <|user|> and <|end|> and <|assistant|>"))
    XCTAssertNil(tokenizer.special(in: "say <|user|>"), "an added token that is not special")
    XCTAssertNil(tokenizer.special(in: "<|en d|> <|end"))
    let id = Int(try XCTUnwrap(known["added_tokens"]?.asArray?.last?["id"]?.asInteger))
    XCTAssertEqual("<|end|>", tokenizer.spelling(id))
    XCTAssertNil(tokenizer.spelling(id + 1))
    XCTAssertEqual(TokenCount(1, isExact: true), tokenizer.count("<|end|>"))
  }

  func testWhatIsNotKnownGivesEstimatesSaysWhyAndStillKnowsSpecialTokens() throws {
    func pattern(_ source: String) -> Json {
      ["type": "Split", "pattern": ["Regex": .string(source)], "behavior": "Isolated"]
    }
    let cases: [(what: String, path: [String], value: Json?)] = [
      ("Unigram", ["model", "type"], "Unigram"),
      ("BertPreTokenizer", ["pre_tokenizer"], ["type": "BertPreTokenizer"]),
      ("Lowercase", ["normalizer"], ["type": "Lowercase"]),
      ("(?<=a)", ["pre_tokenizer"], pattern("(?<=a)b")),
      ("\\h", ["pre_tokenizer"], pattern("\\h+")),
      ("[[:alpha:]]", ["pre_tokenizer"], pattern("[[:alpha:]]+")),
      ("^a", ["pre_tokenizer"], pattern("^a")),
      ("behavior Odd", ["pre_tokenizer"], ["type": "Split", "pattern": ["String": "a"], "behavior": "Odd"]),
      ("Replace of nothing", ["normalizer"], ["type": "Replace", "pattern": ["Regex": "a*"], "content": "b"]),
      ("Replace of nothing", ["normalizer"], ["type": "Replace", "pattern": ["String": ""], "content": "b"]),
      ("\\h", ["normalizer"], ["type": "Replace", "pattern": ["Regex": "\\h"], "content": "b"]),
      ("dropout", ["model", "dropout"], 0.1),
      ("end_of_word_suffix", ["model", "end_of_word_suffix"], "</w>"),
      ("merge Q Z", ["model", "merges", "0"], "Q Z"),
      ("merge of 3", ["model", "merges", "0"], ["a", "b", "c"]),
      ("not in the vocabulary", ["model", "vocab"], nil),
      ("no vocabulary", ["model"], ["type": "BPE"]),
      ("no object", ["model", "vocab"], ["a", "b"]),
      ("prepend_scheme odd", ["pre_tokenizer"], ["type": "Metaspace", "replacement": "_", "prepend_scheme": "odd"]),
      ("replacement ab", ["pre_tokenizer"], ["type": "Metaspace", "replacement": "ab"]),
    ]
    for (what, path, value) in cases {
      let tokenizer = try changed(Array(path.dropLast())) { $0.set(path[path.count - 1], value) }
      let reason = tokenizer.inexactBecause ?? "exact"
      XCTAssertTrue(reason.contains(what), "\(what): \(reason)")
      XCTAssertEqual("<|end|>", tokenizer.special(in: "a<|end|>"), what)
      XCTAssertFalse(tokenizer.count("a text").isExact, what)
    }
  }

  func testWhatIsUnsetIsKnown() throws {
    for value in [Json.null, "", 0] {
      let tokenizer = try changed(["model"]) { $0.set("dropout", value) }
      XCTAssertNil(tokenizer.inexactBecause)
    }
  }

  func testDamagedFilesGiveEstimates() throws {
    let text = known.encoded()
    let cut = [
      "", "{", "[]", "null", "\u{0}", String(text.dropLast()), String(text.prefix(text.count / 2)), text + "{",
    ]
    let wrong = [
      "{}", #"{"added_tokens": 1}"#, #"{"added_tokens": [{"id": "x"}]}"#, #"{"model": {"vocab": {"a": 1.5}}}"#,
      #"{"model": {"vocab": {"a": -1}}}"#, #"{"model": {"vocab": {"a": 99999999999}}}"#,
      #"{"model": {"vocab": {"a": 1}, "merges": 1}}"#, "{\"model\": " + String(repeating: "[", count: 100_000),
    ]
    var odd: [String] = []
    for value: Json in [[], 1, ["type": "Sequence"], ["type": []], ["type": "Split", "pattern": 1]] {
      var json = known
      json.set("pre_tokenizer", value)
      odd.append(json.encoded())
    }
    for content in cut + wrong + odd {
      XCTAssertNotNil(try open(content).inexactBecause, String(content.prefix(40)))
    }
    var bytes = Data(text.utf8)
    bytes[bytes.count / 2] = 0xFF
    XCTAssertTrue(try XCTUnwrap(files).open(bytes).inexactBecause?.contains("is not UTF-8") ?? false)
    let gone = openTokenizer(try XCTUnwrap(files).folder.appendingPathComponent("gone"))
    XCTAssertTrue(gone.inexactBecause?.contains("cannot read gone") ?? false)
  }

  func testMergesAsTextsAndBeforeTheVocabulary() throws {
    let text = "The river rises in the hills."
    let expected = try exact(known.encoded()).encode(text)
    let model = try XCTUnwrap(known["model"]?.asObject)
    let merges = try XCTUnwrap(model["merges"]?.asArray).map { pair in
      Json.string(try XCTUnwrap(pair.asArray).compactMap(\.asString).joined(separator: " "))
    }
    var turned: JsonObject = ["merges": .array(merges)]
    for key in model.keys where key != "merges" { turned[key] = model[key] }
    var json = known
    json.set("model", .object(turned))
    XCTAssertEqual(expected, try exact(json.encoded()).encode(text))
    XCTAssertLessThan(expected.count, text.utf8.count)
  }

  func testComposedAndDecomposedLettersAreOthers() throws {
    let tokenizer = try exact(known.encoded())
    XCTAssertNotEqual(tokenizer.encode("caf\u{e9}"), tokenizer.encode("cafe\u{301}"))
  }

  func testWordOf100000LettersTakesNoMoreThanSeconds() throws {
    let tokenizer = try exact(known.encoded())
    let start = ProcessInfo.processInfo.systemUptime
    let count = tokenizer.count(String(repeating: "theriverrises", count: 7_700))
    let seconds = ProcessInfo.processInfo.systemUptime - start
    XCTAssertGreaterThan(count.tokens, 7_700)
    XCTAssertLessThan(seconds, 20)
  }

  func testSlicesOfALongDocument() throws {
    let tokenizer = try exact(known.encoded())
    let text = String(repeating: "The river rises in the hills, 1,234 metres up. Grüße! ", count: 200)
    let slices = tokenizer.slices(text, size: 128)
    XCTAssertEqual(tokenizer.encode(text), slices.flatMap(tokenizer.encode))
    XCTAssertTrue(slices.dropLast().allSatisfy { (100...128).contains(tokenizer.count($0).tokens) })
    XCTAssertEqual([""], tokenizer.slices("", size: 128))
  }

  func testTextThatNfcLeavesAsItIsCanBeCut() throws {
    let tokenizer = try exact(TokenizerFiles.known("Qwen"))
    let plain = String(repeating: "The river rises in the hills. ", count: 20)
    XCTAssertGreaterThan(tokenizer.slices(plain, size: 16).count, 5)
    let decomposed = String(repeating: "cafe\u{301} ", count: 50)
    XCTAssertEqual([decomposed], tokenizer.slices(decomposed, size: 16))
    XCTAssertEqual(tokenizer.encode("caf\u{e9}"), tokenizer.encode("cafe\u{301}"))
  }
}

extension Json {
  /// Applies `change` to the value at `path`, of keys and indices.
  fileprivate mutating func change(_ path: ArraySlice<String>, _ change: (inout Json) -> Void) {
    guard let key = path.first else { return change(&self) }
    var inner = asArray.flatMap { values in Int(key).map { values[$0] } } ?? self[key] ?? .null
    inner.change(path.dropFirst(), change)
    set(key, inner)
  }

  fileprivate mutating func set(_ key: String, _ value: Json?) {
    if case .array(var values) = self, let index = Int(key), let value {
      values[index] = value
      self = .array(values)
    } else if case .object(var object) = self {
      object[key] = value
      self = .object(object)
    }
  }
}
