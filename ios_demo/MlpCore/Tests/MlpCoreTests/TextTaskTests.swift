import XCTest

@testable import MlpCore

final class TextTaskTests: XCTestCase {
  func testInstructionThenText() {
    XCTAssertEqual(
      [Turn(.user, "Summarize the following text in a few sentences.\n\nThe sky is blue.")],
      TextTask.summarize.turns(" \n\u{A0}The sky is blue.\n", question: "left out"))
    XCTAssertEqual(
      [
        Turn(
          .user,
          "Rewrite the following text in a more formal tone. Keep its meaning. Answer with the new text only.\n\nHi")
      ],
      TextTask.formal.turns("Hi"))
    XCTAssertTrue(TextTask.shorter.turns("Hi")[0].content.contains("text so that it is shorter. Keep"))
    XCTAssertTrue(TextTask.friendlier.turns("Hi")[0].content.contains("text in a friendlier tone. Keep"))
  }

  func testQuestionComesLast() {
    XCTAssertEqual(
      [
        Turn(
          .user,
          "Answer the question about the following text.\n\nThe sky is blue.\n\nQuestion: Which colour?")
      ],
      TextTask.ask.turns("The sky is blue.", question: " Which colour? "))
  }

  func testTextWithoutAnythingInItLeavesNoGap() {
    XCTAssertEqual(
      "Answer the question about the following text.\n\nQuestion: Why?",
      TextTask.ask.turns(" \n ", question: "Why?")[0].content)
    XCTAssertEqual("Summarize the following text in a few sentences.", TextTask.summarize.turns("")[0].content)
  }

  func testInnerLineEndsStay() {
    let content = TextTask.summarize.turns("\r\na\r\n\r\nb\r\n")[0].content
    XCTAssertEqual(Array("a\r\n\r\nb".utf8), Array(content.utf8.suffix(6)))
  }
}
