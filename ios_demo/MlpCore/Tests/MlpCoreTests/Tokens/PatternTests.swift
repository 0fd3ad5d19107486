import XCTest

@testable import MlpCore

/// What Oniguruma finds, by `tokenizers` 0.23.3.
final class PatternTests: XCTestCase {
  private func matches(_ source: String, _ text: String) throws -> [String] {
    let bytes = Array(text.utf8)
    return try bytes.withUnsafeBufferPointer(Pattern(source).matches).map { String(decoding: bytes[$0], as: UTF8.self) }
  }

  func testMatches() throws {
    let cases: [(String, String, [String])] = [
      ("\\s+", "a \u{B}\u{85}\u{2028}\u{3000}b", [" \u{B}\u{85}\u{2028}\u{3000}"]),
      ("\\s", "\u{1C}\u{180E}\u{200B}\u{FEFF}", []),
      ("[^\\s\\p{L}]+", "ab \u{85}!?", ["!?"]),
      ("\\d+", "a1\u{664}²", ["1\u{664}"]),
      ("\\D+", "a1²", ["a", "²"]),
      ("\\w+", "-ä_1\u{301}-Ⅷ-Ⓐ-²-\u{200D}", ["ä_1\u{301}", "Ⅷ", "Ⓐ", "²"]),
      ("[\\S]+|\\W", "a b", ["a", " ", "b"]),
      ("(?i:'s)", "it'\u{17F}, it'S", ["'\u{17F}", "'S"]),
      ("(?i:k)k", "\u{212A}k kK", ["\u{212A}k"]),
      ("\\(\\[\\^", "x([^", ["([^"]),
      ("a|ab", "ab", ["a"]),
      ("(?:a|ab)c", "abc", ["abc"]),
      ("a{2,3}", "aaaaaa a", ["aaa", "aaa"]),
      ("a{2}", "aaaaa", ["aa", "aa"]),
      ("a{2,}b", "ab aab", ["aab"]),
      ("a{,2}b", "aaab", ["aab"]),
      ("(?:ab){1,2}", "ababab", ["abab", "ab"]),
      ("(?:ab)+c|.", "ababc", ["ababc"]),
      ("a+?b?", "aab", ["a", "ab"]),
      ("(?:ab)+?", "abab", ["ab", "ab"]),
      ("a++a|a", "aa", ["a", "a"]),
      ("(?:ab)?+ab|x", "ab x", ["x"]),
      ("(?:ab|a)++b", "ab aab", []),
      ("[a-c-]+", "a-bd", ["a-b"]),
      ("[^\\r\\n]+", "a\r\nb", ["a", "b"]),
      (".", "\u{2028}\n\r", ["\u{2028}", "\r"]),
      ("\\s+(?!\\S)|\\s+", "a   b  ", ["  ", " ", "  "]),
      ("a(?=b)", "ab ac", ["a"]),
      ("[\\p{Lu}\\p{Lt}]\\p{Ll}*", "Aab\u{1C5}x", ["Aab", "\u{1C5}x"]),
      ("\\P{L}+", "a1b", ["1"]),
      ("世+", "x世世y", ["世世"]),
      ("a*", "baa", ["", "aa", ""]),
      ("\\Aa(?=a)", "aaa", ["a"]),
      ("\\Aa|b", "aba", ["a", "b"]),
      ("", "ü", ["", ""]),
    ]
    for (source, text, expected) in cases {
      XCTAssertEqual(expected, try matches(source, text), source)
    }
  }

  func testWhatIsNotKnownIsRefused() {
    let unknown = [
      "(", ")", "a)", "a\\", "[", "[]", "[]a]", "[a", "[b-a]", "[a-\\d]", "[a[b]]", "[a&&b]", "[\\d-a]",
      "(?<=a)", "(?<a>b)", "(?>a)", "(?i)a", "^a", "a$", "\\b", "\\A*", "[\\A]", "\\z", "\\1", "\\h", "\\x41",
      "\\p{Han}", "\\p{^L}", "\\pL", "\\p{L", "*a", "a**", "a{", "a{,}", "a{3,2}", "a{2000}", "a{2}+", "a{2}?", "a+*",
      "(?:a?)*", "(?:a*|b)+", "(?=a)*", "(?:(?:(?:a{1000}b){1000}c){1000}d){1000}",
      String(repeating: "(", count: 100_000),
    ]
    for source in unknown {
      XCTAssertThrowsError(try Pattern(source), String(source.prefix(60))) { XCTAssertTrue($0 is UnknownTokenizer) }
    }
  }

  func testLiteralsAreNoPatterns() {
    let bytes = Array("a.b+a.b".utf8)
    let found = bytes.withUnsafeBufferPointer(Pattern(literal: "a.b").matches)
    XCTAssertEqual([0..<3, 4..<7], found)
  }

  func testLongRunsTakeNoRecursion() throws {
    let text = String(repeating: "ab", count: 100_000)
    XCTAssertEqual([text], try matches("(?:ab)+", text))
    XCTAssertEqual([text + "c"], try matches("(?:a|b)+c", text + "c"))
  }
}
