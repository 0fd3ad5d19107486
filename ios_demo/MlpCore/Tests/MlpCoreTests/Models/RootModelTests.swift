import MlpFixtures
import XCTest

@testable import MlpCore

final class RootModelTests: ChatTestCase {
  func testWithoutAModelTheFirstScreenIsTheModels() async throws {
    try await start()
    try FileManager.default.removeItem(at: app.folders.documents.appendingPathComponent("smol"))
    let root = RootModel(app)
    await root.start()
    XCTAssertEqual(root.place, .models)
    XCTAssertFalse(root.canStartNewChat)
    root.startNewChat()
    XCTAssertNil(root.chat)
  }

  func testANewChatKeepsItsScreenWhenItGetsAnId() async throws {
    try await start()
    let root = RootModel(app)
    await root.start()
    XCTAssertNil(root.place)
    root.startNewChat()
    XCTAssertEqual(root.place, .chat(bundle: "smol", conversation: nil))
    let chat = try XCTUnwrap(root.chat)
    await ask(chat, "Hello")
    XCTAssertEqual(root.place, .chat(bundle: "smol", conversation: try XCTUnwrap(chat.id)))
    XCTAssertTrue(root.chat === chat)
    await until("row") { root.conversations.rows.map(\.title) == ["Hello"] }
    root.startNewChat()
    XCTAssertFalse(root.chat === chat)
    XCTAssertTrue(root.chat?.isEmpty ?? false)
    root.place = .chat(bundle: "smol", conversation: chat.id)
    XCTAssertEqual(root.chat?.rows.map(\.text), ["Hello", "Yes."])
    chat.perform(.newConversation)
    XCTAssertEqual(root.place, .chat(bundle: "smol", conversation: chat.id ?? root.chat?.id), "not its screen any more")
    root.chat?.perform(.showModel)
    XCTAssertEqual(root.place, .models)
    XCTAssertNil(root.chat)
  }

  func testWhereOneColumnFitsAChosenPlaceIsShownAndAnAnswerDoesNotComeBackByItself() async throws {
    try await start()
    let root = RootModel(app)
    await root.start()
    XCTAssertFalse(root.showsPlace, "the sidebar is first")
    root.startNewChat()
    XCTAssertTrue(root.showsPlace, "a new chat has no row in the sidebar")
    let chat = try XCTUnwrap(root.chat)
    root.showsPlace = false  // back to the sidebar
    await ask(chat, "Hello")
    XCTAssertEqual(root.place, .chat(bundle: "smol", conversation: try XCTUnwrap(chat.id)))
    XCTAssertFalse(root.showsPlace)
    root.place = .tasks
    root.showsPlace = false
    root.place = .tasks  // a shortcut
    XCTAssertTrue(root.showsPlace)
    root.place = nil
    XCTAssertFalse(root.showsPlace)
  }

  func testADeletedConversationLeavesTheScreen() async throws {
    try await start()
    let root = RootModel(app)
    await root.start()
    root.startNewChat()
    await ask(try XCTUnwrap(root.chat), "Hello")
    await until("row") { root.conversations.rows.count == 1 }
    root.conversations.delete(root.conversations.rows[0])
    XCTAssertNil(root.place)
    XCTAssertNil(root.chat)
  }

  func testALaunchOpensTheBundleThatWasPushed() async throws {
    try await start()
    let root = RootModel(app, arguments: ["app", "--bundle", "smol"])
    await root.start()
    XCTAssertEqual(root.place, .chat(bundle: "smol", conversation: nil))
    let wrong = RootModel(app, arguments: ["app", "--bundle"])
    await wrong.start()
    XCTAssertNil(wrong.place)
  }

  func testALaunchForABenchmarkDoesNothingElse() async throws {
    try await start()
    let again = AppModel.test(in: try XCTUnwrap(folder).url, engines: engines.make)
    let root = RootModel(again, arguments: ["app", "--bench", "{}"])
    await root.start()
    XCTAssertEqual(root.place, .bench)
    XCTAssertTrue(root.showsPlace, "its screen starts it")
    try XCTUnwrap(again.inbox).add("Shared", name: nil)
    await root.becameActive()
    XCTAssertFalse(root.task.isPresented, "its screen would end the benchmark")
    let other = RootModel(again)
    await other.becameActive()
    XCTAssertTrue(other.task.isPresented)
    XCTAssertEqual(other.task.source, "Shared")
    XCTAssertNil(again.bundles.library.items, "no hashes are read meanwhile")
  }

  func testWhatWasWrittenSurvivesTheWayToTheModels() async throws {
    try await start()
    let root = RootModel(app)
    await root.start()
    root.startNewChat()
    root.chat?.draft = "A long question"
    root.chat?.perform(.showModel)
    XCTAssertNil(root.chat)
    root.bundles.open("smol")
    XCTAssertEqual(root.chat?.draft, "A long question")
    await ask(try XCTUnwrap(root.chat), "A long question")
    root.chat?.draft = "And another"
    await until("row") { root.conversations.rows.count == 1 }
    let row = root.conversations.rows[0]
    root.conversations.delete(row)
    XCTAssertEqual(app.drafts["smol", row.id], "", "gone with its conversation")
  }

  func testADocumentIsOpenedWithTheModelWhoseButtonItWas() async throws {
    try await start()
    let other = try writeBundle(manifest(context: 64), in: app.folders.documents, name: "other")
    app.bundles.licenses.accept(other)
    await look()
    let file = app.folders.support.appendingPathComponent("report.txt")
    try Data("alpha beta".utf8).write(to: file)
    let root = RootModel(app)
    await root.start()
    root.bundles.open("smol", .document)
    XCTAssertEqual(root.place, .document)
    await root.document.open(file, access: DirectAccess())
    XCTAssertTrue(root.document.about.hasPrefix("2 of 128 tokens."), root.document.about)
    root.bundles.open("other", .document)
    await until("the other model") { root.document.about.hasPrefix("2 of 64 tokens.") }
    let next = RootModel(AppModel.test(in: try XCTUnwrap(folder).url, engines: engines.make))
    await next.start()
    await until("hashes") { next.bundles.library.candidates.count == 2 && next.bundles.library.checking == nil }
    next.bundles.open("smol", .document)
    await until("the chosen model, not the one before") { next.document.about.hasPrefix("2 of 128 tokens.") }
  }

  func testNothingSharedIsOpenedOverABenchmark() async throws {
    try await start()
    try XCTUnwrap(app.inbox).add("shared", name: nil)
    let root = RootModel(app, arguments: ["app", "--bench", "{}"])
    await root.start()
    await root.task.receive()
    XCTAssertFalse(root.task.isPresented)
    let usual = RootModel(app)
    await usual.task.receive()
    XCTAssertTrue(usual.task.isPresented)
  }
}
