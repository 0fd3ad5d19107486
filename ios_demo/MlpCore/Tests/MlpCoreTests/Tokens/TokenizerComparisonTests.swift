import Foundation
import XCTest

@testable import MlpCore

/// Many random texts against `tokenizers`: ios_demo/tools/tokenizer_texts.py writes the folder that the variable
/// TOKENIZER_TEXTS names. Debug builds take minutes; use `-c release -Xswiftc -enable-testing`.
final class TokenizerComparisonTests: XCTestCase {
  func testIdsOfManyTexts() throws {
    guard let path = ProcessInfo.processInfo.environment["TOKENIZER_TEXTS"] else {
      throw XCTSkip("TOKENIZER_TEXTS is not set: the comparison of many texts with `tokenizers` did not run")
    }
    let folder = URL(fileURLWithPath: path)
    let start = ProcessInfo.processInfo.systemUptime
    let tokenizer = openTokenizer(folder.appendingPathComponent("tokenizer.json"))
    let opened = ProcessInfo.processInfo.systemUptime
    let exact = try XCTUnwrap(tokenizer as? BpeTokenizer, tokenizer.inexactBecause ?? "")
    let text = try String(contentsOf: folder.appendingPathComponent("texts.jsonl"), encoding: .utf8)
    var (texts, ids, different) = (0, 0, 0)
    for line in text.split(separator: "\n") {
      let fields = JsonFields(try XCTUnwrap(try Json.parse(String(line)).asObject))
      let (text, expected) = (try fields.string("text"), try fields.ints("ids", atLeast: 0))
      let found = exact.encode(text)
      if found != expected {
        different += 1
        XCTFail("\(text.debugDescription.prefix(300)): \(found.prefix(40)) instead of \(expected.prefix(40))")
      }
      let slices = exact.slices(text, size: 32)
      XCTAssertEqual(expected, slices.flatMap(exact.encode), "slices of \(text.debugDescription.prefix(300))")
      XCTAssertEqual(Array(text.utf8), Array(slices.joined().utf8))
      (texts, ids) = (texts + 1, ids + expected.count)
      if different > 20 { break }
    }
    XCTAssertGreaterThan(texts, 100)
    let seconds = (opened - start, ProcessInfo.processInfo.systemUptime - opened)
    FileHandle.standardError.write(
      Data("opened in \(seconds.0) s; \(texts) texts, \(ids) ids, \(different) different, \(seconds.1) s\n".utf8))
  }
}
