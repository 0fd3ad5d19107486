import XCTest

@testable import MlpCore

final class AddedTokensTests: XCTestCase {
  private func token(_ content: String, _ change: (inout AddedToken) -> Void = { _ in }) -> AddedToken {
    var token = AddedToken(id: 1, content: Array(content.utf8))
    change(&token)
    return token
  }

  /// Tokens stand in brackets.
  private func split(_ tokens: [AddedToken], _ text: String) -> [String] {
    let bytes = Array(text.utf8)
    return AddedTokens(tokens).split(bytes[...]).map { range, token in
      let part = String(decoding: bytes[range], as: UTF8.self)
      return token == nil ? part : "[\(part)]"
    }
  }

  func testLeftmostThenLongest() {
    XCTAssertEqual(["x", "[abc]", "[ab]"], split([token("ab"), token("bcab"), token("abc")], "xabcab"))
    XCTAssertEqual([], split([token("ab"), token("")], ""))
    XCTAssertEqual(["世", "[世界]", "界"], split([token("世界")], "世世界界"))
  }

  func testSingleWord() {
    let cat = token("cat") { $0.isSingleWord = true }
    XCTAssertEqual(
      ["a ", "[cat]", ", cats, ²", "[cat]", " cat_ cat\u{301} cat\u{200D}"],
      split([cat], "a cat, cats, ²cat cat_ cat\u{301} cat\u{200D}"))
  }

  func testSpaceAround() {
    let mask = token("<m>") {
      $0.takesSpaceBefore = true
      $0.takesSpaceAfter = true
    }
    XCTAssertEqual(["a", "[\u{3000} <m>\n\u{A0}]", "[<m>]", "b"], split([mask], "a\u{3000} <m>\n\u{A0}<m>b"))
  }
}
