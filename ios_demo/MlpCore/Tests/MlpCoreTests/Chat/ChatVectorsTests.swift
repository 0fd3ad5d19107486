import MlpFixtures
import XCTest

@testable import MlpCore

/// The cases that Python and Kotlin run too: chat rendering, stop strings, halves of characters.
final class ChatVectorsTests: XCTestCase {
  func testChatRendering() throws {
    let all = try vectors("chat.json")
    let cases = try all.list("cases")
    XCTAssertGreaterThan(cases.count, 90)
    for vector in cases {
      let name = try vector.string("name")
      let format = try ChatFormat(try all.fields("formats").fields(try vector.string("format")))
      let turns = try vector.list("turns").map { turn in
        Turn(try XCTUnwrap(Role(rawValue: try turn.string("role"))), try turn.string("content"))
      }
      let generate = try vector.bool("generate")
      if try vector.stringOrNull("problem") == nil {
        assertBytes(try format.compose(turns, generate: generate), try vector.string("text"), name)
      } else {
        XCTAssertEqual(
          thrown(PromptError.self) { try format.compose(turns, generate: generate) }, PromptError(.noSystemRole), name)
      }
    }
  }

  func testReasoningEndsWhereItsBytesDo() throws {
    var format = chatml
    format.reasoningEnd = "|>"
    format.reasoningTrim = .newlines
    let said = ["a|>\n\nb": "b", "a|>\r\nb": "\r\nb", "a|>b|>": "", "a|>\u{301}b": "\u{301}b", "a|": "a|", "": ""]
    for (answer, kept) in said {
      let composed = try format.compose([assistant(answer)], generate: false)
      assertBytes(composed, "<|im_start|>assistant\n\(kept)<|im_end|>\n")
    }
    format.reasoningEnd = "\u{E9}"
    let composed = try format.compose([assistant("e\u{301}")], generate: false)
    assertBytes(composed, "<|im_start|>assistant\ne\u{301}<|im_end|>\n")
  }

  func testStopStrings() throws {
    let cases = try vectorCases("stop_strings.json")
    XCTAssertGreaterThan(cases.count, 10)
    for vector in cases {
      let name = try vector.string("name")
      var stops = StopStrings(try vector.strings("stop"))
      let visible = try vector.strings("pieces").map { stops.push($0) }
      XCTAssertEqual(visible, try vector.strings("visible"), name)
      XCTAssertEqual(stops.isFound, try vector.bool("stopped"), name)
      assertBytes(stops.flush(), try vector.string("rest"), name)
    }
  }

  func testStopStringsAreComparedByteByByte() {
    var composed = StopStrings(["\u{E9}"])
    assertBytes(composed.push("e\u{301}x"), "e\u{301}x")
    XCTAssertFalse(composed.isFound)
    // "\r\n" is one Character of Swift's, and a stop string within a combined one is still one.
    var line = StopStrings(["\n"])
    assertBytes(line.push("a\r\nb"), "a\r")
    var combined = StopStrings(["|>"])
    assertBytes(combined.push("a|>\u{301}"), "a")
    XCTAssertTrue(combined.isFound)
  }

  func testUtf8InChunks() throws {
    for vector in try vectorCases("utf8.json") {
      let name = try vector.string("name")
      var assembler = Utf8Assembler()
      let texts = try vector.strings("chunks").map { assembler.push(bytes($0)) }
      XCTAssertEqual(texts.map { Array($0.utf8) }, try vector.strings("texts").map { Array($0.utf8) }, name)
      assertBytes(assembler.finish(), try vector.string("rest"), name)
    }
  }

  /// Wherever it is cut, a text comes out as it does in one piece.
  func testUtf8CutAnywhere() {
    let good = Array("aé世🙂e\u{301}\r\n\u{0}".utf8)
    let bad: [[UInt8]] = [
      [0xE0, 0x80, 0x61], [0xED, 0xA0, 0x80], [0xF0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80], [0xC0, 0xAF],
      [0x80, 0x80, 0xE4, 0xB8], [0xF0, 0x9F, 0x99, 0xF0, 0x9F, 0x99, 0x82],
    ]
    for bytes in [good] + bad {
      let whole = String(decoding: bytes, as: UTF8.self)
      for first in 0...bytes.count {
        for second in first...bytes.count {
          var assembler = Utf8Assembler()
          var text = assembler.push(bytes[..<first]) + assembler.push(bytes[first..<second])
          text += assembler.push(bytes[second...]) + assembler.finish()
          assertBytes(text, whole, "\(bytes) cut at \(first) and \(second)")
        }
      }
    }
  }

  func testOnlyWhatCanBecomeACharacterIsHeldBack() {
    for hopeless: [UInt8] in [[0xE0, 0x80], [0xED, 0xA0], [0xF0, 0x80], [0xF4, 0x90], [0xF5, 0x80], [0xC1, 0x80]] {
      var assembler = Utf8Assembler()
      XCTAssertEqual(assembler.push(hopeless), "\u{FFFD}\u{FFFD}", "\(hopeless)")
    }
    for start: [UInt8] in [[0xE0, 0xA0], [0xED, 0x9F], [0xF0, 0x90], [0xF4, 0x8F], [0xC2], [0xF0, 0x90, 0x80]] {
      var assembler = Utf8Assembler()
      XCTAssertEqual(assembler.push(start), "", "\(start)")
      XCTAssertEqual(assembler.finish(), "\u{FFFD}")
    }
  }

  private func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  func testRunsOfLostPieces() {
    var lost = LostPieces()
    XCTAssertEqual(["a", "", "", "b", "", "c"].map { lost.push($0) }, ["a", "", "", "\u{FFFD}b", "", "\u{FFFD}c"])
    XCTAssertEqual(lost.finish(), "")
    XCTAssertEqual(lost.runs, 2)
    _ = lost.push("")
    lost.lastWasEnd()
    XCTAssertEqual(lost.finish(), "")
    _ = lost.push("")
    _ = lost.push("")
    lost.lastWasEnd()
    XCTAssertEqual(lost.finish(), "\u{FFFD}")
    XCTAssertEqual(lost.runs, 3)
  }

  func testTrimDropsScalarsAndNotCharacters() {
    assertBytes(" \r\n a \u{85}\u{1F}".trimmed(\.isPythonSpace), "a")
    assertBytes(" \u{301}a".trimmed(\.isPythonSpace), "\u{301}a", "a space with an accent is one Character")
    assertBytes("\u{200B}a\u{2060}".trimmed(\.isPythonSpace), "\u{200B}a\u{2060}")
    assertBytes(" \t\u{3000}".trimmed(\.isPythonSpace), "")
    assertBytes("", "".trimmed(\.isPythonSpace))
  }
}
