import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

final class ShareInboxTests: XCTestCase {
  private func inbox() throws -> (TemporaryFolder, ShareInbox) {
    let folder = try TemporaryFolder()
    return (folder, ShareInbox(folder: folder.url.appendingPathComponent("inbox")))
  }

  func testTextsWaitInTheirOrder() throws {
    let (folder, inbox) = try inbox()
    XCTAssertEqual(inbox.items(), [])
    try inbox.add("one\nand more\n", name: nil, time: Date(timeIntervalSince1970: 1))
    try inbox.add("Grüße 🙂", name: "a b.txt", time: Date(timeIntervalSince1970: 2.5))
    let other = ShareInbox(folder: folder.url.appendingPathComponent("inbox"))  // as after a new start
    let items = other.items()
    XCTAssertEqual(items.map(\.name), ["a b.txt", nil])
    XCTAssertEqual(items.map(\.time.timeIntervalSince1970), [2.5, 1])
    XCTAssertEqual(items.map { other.text($0) }, ["Grüße 🙂", "one\nand more\n"])
    XCTAssertEqual(items.map(\.isSeen), [false, false])
  }

  func testSeenItemsStayUntilTheyAreRemoved() throws {
    let (_, inbox) = try inbox()
    try inbox.add("text", name: nil)
    let item = try XCTUnwrap(inbox.items().first)
    inbox.markSeen(item)
    XCTAssertEqual(inbox.items().map(\.isSeen), [true])
    XCTAssertEqual(inbox.text(item), "text", "listed before it was seen")
    inbox.remove(item)
    XCTAssertEqual(inbox.items(), [])
    XCTAssertNil(inbox.text(item))
  }

  func testNoMoreThanItsLimit() throws {
    let (_, inbox) = try inbox()
    for index in 0..<ShareInbox.mostItems { try inbox.add("\(index)", name: nil) }
    XCTAssertThrowsError(try inbox.add("more", name: nil)) {
      XCTAssertEqual($0 as? ShareInbox.Full, ShareInbox.Full(items: 20))
    }
    inbox.remove(try XCTUnwrap(inbox.items().first))
    XCTAssertNoThrow(try inbox.add("more", name: nil))
  }

  func testWhatIsNotWholeIsNotListed() throws {
    let (folder, inbox) = try inbox()
    try inbox.add("text", name: nil)
    let place = folder.url.appendingPathComponent("inbox")
    for (name, content) in [("a.shared", ""), ("b.shared", "{\"time\":1}"), ("c.shared", "no json\ntext"), ("d", "x")] {
      try Data(content.utf8).write(to: place.appendingPathComponent(name))
    }
    XCTAssertEqual(inbox.items().count, 1)
  }

  func testLongNamesAreCut() throws {
    let (_, inbox) = try inbox()
    try inbox.add("text", name: String(repeating: "🙂", count: 3000))
    XCTAssertEqual(inbox.items().first?.name?.unicodeScalars.count, 200)
    XCTAssertEqual(inbox.items().first.flatMap { inbox.text($0) }, "text")
  }

  @MainActor
  func testExtensionKeepsTextAndSaysHowToGoOn() async throws {
    let (_, inbox) = try inbox()
    let model = ShareModel(inbox: inbox)
    XCTAssertEqual(model.state, .reading)
    await model.take(Data("\u{FEFF}a\r\nb".utf8), name: nil)
    XCTAssertEqual(model.state, .kept)
    XCTAssertEqual(model.message, "Open mlp-export to ask about it, rewrite it or summarize it.")
    XCTAssertEqual(inbox.items().first.flatMap { inbox.text($0) }, "a\nb")
  }

  @MainActor
  func testExtensionRefusesWhatIsNoText() async throws {
    let (_, inbox) = try inbox()
    let model = ShareModel(inbox: inbox)
    await model.take(Data([0x50, 0x4B, 3, 4, 0, 1]), name: "archive.zip")
    XCTAssertEqual(model.title, "The Text Was Not Taken")
    XCTAssertTrue(
      model.message.hasPrefix("archive.zip is not a text file: there is a control character at byte 2"), model.message)
    await model.take(Data("Hello".utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }), name: nil)
    XCTAssertTrue(model.message.hasPrefix("Text is text in UTF-16"), model.message)
    await model.take(Data(repeating: 97, count: TextDocument.mostBytes + 1), name: "long.txt")
    XCTAssertTrue(model.message.hasPrefix("long.txt is larger than 8.4\u{A0}MB"), model.message)
    await model.take(Data(), name: nil)
    XCTAssertEqual(model.message, "Text has no text.")
    XCTAssertEqual(inbox.items(), [])
  }

  @MainActor
  func testExtensionSaysWhenItCannotHandOver() async throws {
    let model = ShareModel(inbox: nil)
    await model.take(Data("text".utf8), name: nil)
    XCTAssertEqual(model.message, text("share.noGroup"))
    let (folder, inbox) = try inbox()
    try Data().write(to: folder.url.appendingPathComponent("inbox"))  // a file where the folder should be
    let blocked = ShareModel(inbox: inbox)
    await blocked.take(Data("text".utf8), name: nil)
    guard case .refused = blocked.state else { return XCTFail("\(blocked.state)") }
    blocked.fail(nil)
    XCTAssertEqual(blocked.message, text("task.noText"))
  }
}
