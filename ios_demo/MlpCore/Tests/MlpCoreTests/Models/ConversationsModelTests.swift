import MlpFixtures
import XCTest

@testable import MlpCore

final class ConversationsModelTests: ChatTestCase {
  private func filled() async throws -> ConversationsModel {
    try await start()
    for text in ["Rainbows", "Dinner"] {
      let conversation = try app.conversations.create(bundle: "smol")
      try app.conversations.addUser(conversation.id, text)
      try await Task.sleep(for: .milliseconds(3))  // another time of change
    }
    let model = ConversationsModel(app)
    await model.refresh()
    return model
  }

  func testTheNewestIsFirstAndSearchFinds() async throws {
    let model = try await filled()
    XCTAssertEqual(model.rows.map(\.title), ["Dinner", "Rainbows"])
    XCTAssertEqual(model.rows[0].snippet, "Dinner")
    XCTAssertTrue(model.rows[0].about.hasPrefix("smol · "), model.rows[0].about)
    model.query = "rain"
    await until("result") { model.rows.map(\.title) == ["Rainbows"] }
    model.query = "nothing of that"
    await until("result") { model.rows.isEmpty }
    XCTAssertEqual(model.emptyText, "No conversation contains “nothing of that”.")
    model.query = " "
    await until("result") { model.rows.count == 2 }
  }

  func testRename() async throws {
    let model = try await filled()
    let row = model.rows[0]
    model.askToRename(row)
    XCTAssertTrue(model.isRenaming)
    model.newTitle = "  "
    model.rename(row)
    XCTAssertEqual(app.conversations.read(row.id)?.title, "Dinner", "a title is needed")
    model.askToRename(row)
    XCTAssertEqual(model.newTitle, "Dinner")
    model.newTitle = " Supper "
    model.rename(row)
    XCTAssertFalse(model.isRenaming)
    await until("row") { model.rows.contains { $0.title == "Supper" } }
  }

  func testDelete() async throws {
    let model = try await filled()
    var deleted: [String] = []
    model.deleted = { deleted.append($0) }
    let row = model.rows[0]
    model.deleting = row
    XCTAssertTrue(model.isDeleting)
    XCTAssertTrue(model.deletionText(row).contains("“Dinner”"))
    model.isDeleting = false
    XCTAssertEqual(app.conversations.list().count, 2, "not without a yes")
    model.delete(row)
    XCTAssertEqual(deleted, [row.id])
    await until("rows") { model.rows.map(\.title) == ["Rainbows"] }
  }

  func testExportNamesWhoSpeaks() async throws {
    let model = try await filled()
    let export = model.export(model.rows[0])
    XCTAssertTrue(export.contains("You") && export.contains("Dinner"), export)
  }
}
