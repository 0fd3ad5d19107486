import Foundation
import XCTest

@testable import MlpCore

final class TextDocumentTests: XCTestCase {
  private let text = "Grüße, 世界 🙂\n\tIt's fine.\n"

  private func read(_ bytes: [UInt8], mostBytes: Int = TextDocument.mostBytes) -> TextDocument {
    TextDocument.read(Data(bytes), mostBytes: mostBytes)
  }

  private func read(_ text: String) -> TextDocument { read([UInt8](text.utf8)) }

  /// `==` of String takes composed and decomposed letters for the same.
  private func assertText(_ expected: String, _ found: TextDocument, line: UInt = #line) {
    guard case .text(let text) = found else { return XCTFail("\(found)", line: line) }
    XCTAssertEqual(Array(expected.utf8), Array(text.utf8), line: line)
  }

  func testUtf8IsText() {
    assertText(text, read(text))
    assertText("cafe\u{301} caf\u{e9}", read("cafe\u{301} caf\u{e9}"))
  }

  func testByteOrderMarkAndLineEndsOfOtherSystemsDoNotReachTheModel() {
    assertText("a\nb\nc\n", read("\u{FEFF}a\r\nb\rc\n"))
    assertText("a\n\n\nb", read("a\r\r\n\nb"))
    assertText("a\u{FEFF}b", read("a\u{FEFF}b"))
  }

  func testBytesOfAContext() {
    XCTAssertEqual(131_072, TextDocument.mostBytes(context: 2048))
    XCTAssertEqual(TextDocument.mostBytes, TextDocument.mostBytes(context: 131_072))
    XCTAssertEqual(TextDocument.mostBytes - 64, TextDocument.mostBytes(context: 131_071))
    XCTAssertEqual(TextDocument.mostBytes, TextDocument.mostBytes(context: .max))
  }

  func testNothingInIt() {
    for empty in ["", " \r\n\t ", "\u{FEFF}", "\u{A0}\u{3000}"] {
      XCTAssertEqual(.refused(.empty, position: 0), read(empty), empty)
    }
  }

  func testUtf16WithAMarkAndWithout() throws {
    let big = try XCTUnwrap(text.data(using: .utf16BigEndian))
    let little = try XCTUnwrap(text.data(using: .utf16LittleEndian))
    XCTAssertEqual(.refused(.utf16, position: 0), read([0xFE, 0xFF] + big))
    XCTAssertEqual(.refused(.utf16, position: 0), read([0xFF, 0xFE] + little))
    let hello = "Hello, hello"
    let bigHello = try XCTUnwrap(hello.data(using: .utf16BigEndian))
    let littleHello = try XCTUnwrap(hello.data(using: .utf16LittleEndian))
    XCTAssertEqual(.refused(.utf16, position: 0), read([UInt8](bigHello)))
    XCTAssertEqual(.refused(.utf16, position: 1), read([UInt8](littleHello)))
  }

  func testBinaryFiles() {
    let png: [UInt8] = [0x89] + Array("PNG\r\n".utf8) + [26, 10, 0, 0, 0, 13]
    XCTAssertEqual(.refused(.binary, position: 6), read(png))
    XCTAssertEqual(.refused(.binary, position: 3), read("abc\u{0}def"))
    assertText("a\u{1B}[1mb\u{C}", read("a\u{1B}[1mb\u{C}"))
  }

  func testOtherEncodings() {
    XCTAssertEqual(.refused(.notUtf8, position: 2), read([0x47, 0x72, 0xFC, 0xDF, 0x65]))
    XCTAssertEqual(.refused(.notUtf8, position: 2), read(Array("ab世".utf8.dropLast())))
    let bad: [[UInt8]] = [
      [0xED, 0xA0, 0x80], [0xC0, 0xAF], [0xE0, 0x80, 0xAF], [0xF0, 0x8F, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80],
      [0xF5, 0x80, 0x80, 0x80], [0x80], [0xC3, 0x28], [0xE4, 0xB8, 0x28], [0xFF],
    ]
    for bytes in bad {
      XCTAssertEqual(.refused(.notUtf8, position: 0), read(bytes), "\(bytes)")
      XCTAssertEqual(.refused(.notUtf8, position: 1), read(Array("a".utf8) + bytes), "\(bytes)")
    }
    for edge in ["\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFF}", "\u{10000}", "\u{10FFFF}"] {
      assertText("x" + edge, read("x" + edge))
    }
  }

  func testTooBig() {
    XCTAssertEqual(.refused(.tooBig, position: 11), read(Array("elevenbytes".utf8), mostBytes: 10))
    XCTAssertEqual(.text("ten  bytes"), read(Array("ten  bytes".utf8), mostBytes: 10))
  }
}
