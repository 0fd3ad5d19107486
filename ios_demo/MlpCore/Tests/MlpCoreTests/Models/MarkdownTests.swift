import MlpCore
import XCTest

final class MarkdownTests: XCTestCase {
  /// The lines with their marks as tags.
  private func shown(_ text: String) -> String {
    markdown(text).map { line in
      let inner = line.spans.map { span in
        switch span.style {
        case .plain: span.text
        case .bold: "<b>\(span.text)</b>"
        case .italic: "<i>\(span.text)</i>"
        case .code: "<c>\(span.text)</c>"
        }
      }.joined()
      return switch line.kind {
      case .text, .code: inner
      case .heading(let level): "<h\(level)>\(inner)</h\(level)>"
      case .bullet(let depth): "<li\(depth)>\(inner)</li>"
      }
    }.joined(separator: "\n")
  }

  func testInline() {
    XCTAssertEqual(shown("a **bold** and *slanted* word"), "a <b>bold</b> and <i>slanted</i> word")
    XCTAssertEqual(shown("so `x = 1`."), "so <c>x = 1</c>.")
    XCTAssertEqual(shown("**two words** **more**"), "<b>two words</b> <b>more</b>")
    XCTAssertEqual(shown("`**not bold**`"), "<c>**not bold**</c>")
    XCTAssertEqual(shown("😀 **é**"), "😀 <b>é</b>")
  }

  func testLines() {
    XCTAssertEqual(shown("## Title ##\ntext"), "<h2>Title</h2>\ntext")
    XCTAssertEqual(shown("- one\n  * **two**"), "<li0>one</li>\n<li1><b>two</b></li>")
    XCTAssertEqual(shown("1. one\n2. two"), "1. one\n2. two")
  }

  func testBlocks() {
    XCTAssertEqual(
      shown("see\n```kotlin\nval a = b * c * d\n```\ndone"), "see\n<c>val a = b * c * d</c>\ndone")
    XCTAssertEqual(shown("an open one\n```\n# no title"), "an open one\n<c># no title</c>")
  }

  func testWhatIsNoMarkStays() {
    for text in [
      "", "plain", "2 * 3 * 4", "a*b*c", "** no", "half **bold", "half `code", "#tag", "-5 °C", "\n\n",
    ] {
      XCTAssertEqual(shown(text), text)
    }
  }

  func testGrowingTextLosesNothingButMarks() {
    let text = "# A\n\n- **b** `c` *d*\n```\ncode\n```\nend"
    for length in 0...text.count {
      let plain = markdown(String(text.prefix(length))).map(\.plain).joined()
      XCTAssertEqual(plain.filter(\.isLetter), String(text.prefix(length)).filter(\.isLetter))
    }
  }
}
