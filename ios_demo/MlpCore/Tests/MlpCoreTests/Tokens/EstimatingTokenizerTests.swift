import XCTest

@testable import MlpCore

final class EstimatingTokenizerTests: XCTestCase {
  private let tokenizer = EstimatingTokenizer(AddedTokens([]), because: "a test")

  func testCounts() {
    XCTAssertEqual("a test", tokenizer.inexactBecause)
    XCTAssertEqual(TokenCount(0, isExact: false), tokenizer.count(""))
    XCTAssertEqual(TokenCount(1, isExact: false), tokenizer.count("a"))
    XCTAssertEqual(TokenCount(2, isExact: false), tokenizer.count("abcde"))
    XCTAssertEqual(TokenCount(2 + 3, isExact: false), tokenizer.count("abcdefgh世界🙂"))
  }

  func testAddedTokensAreOneEach() {
    let end = AddedToken(id: 7, content: Array("<|end|>".utf8), isSpecial: true)
    let tokenizer = EstimatingTokenizer(AddedTokens([end]), because: "a test")
    XCTAssertEqual(TokenCount(1 + 1 + 1, isExact: false), tokenizer.count("abc<|end|>abcd"))
    XCTAssertEqual("<|end|>", tokenizer.spelling(7))
    XCTAssertEqual("<|end|>", tokenizer.special(in: "a<|end|>"))
  }

  func testSlicesBeginWithAWord() {
    let text = String(repeating: "some words that follow each other, ", count: 30)
    let slices = tokenizer.slices(text, size: 10)
    XCTAssertEqual(text, slices.joined())
    XCTAssertGreaterThan(slices.count, 15)
    XCTAssertTrue(slices.dropFirst().allSatisfy { $0.hasPrefix(" ") && $0.dropFirst().first?.isLetter == true })
    XCTAssertTrue(slices.dropLast().allSatisfy { (40...60).contains($0.count) })
    XCTAssertEqual([String(repeating: "x", count: 500)], tokenizer.slices(String(repeating: "x", count: 500), size: 10))
    XCTAssertEqual([""], tokenizer.slices("", size: 10))
    XCTAssertEqual(["слово", " слово"], tokenizer.slices("слово слово", size: 2))
  }
}
