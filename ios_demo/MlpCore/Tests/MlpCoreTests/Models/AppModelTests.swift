import MlpFixtures
import XCTest

@testable import MlpCore

final class AppModelTests: ChatTestCase {
  func testAnAnswerGoesOnInTheBackgroundWithTimeFromTheSystem() async throws {
    _ = try await answering(pieces: 2)
    XCTAssertEqual(time.begun, 0)
    app.enteredBackground()
    app.enteredBackground()
    XCTAssertEqual([time.begun, time.ended], [1, 0])
    engine.resume()
    await ended()
    XCTAssertEqual([time.begun, time.ended], [1, 1])
    XCTAssertEqual(app.host.answer?.end, .complete)
  }

  func testTheEndOfTheTimeStopsTheAnswerAndMarksItInterrupted() async throws {
    let chat = try await answering(pieces: 2)
    app.enteredBackground()
    let expire = try XCTUnwrap(time.expire)
    expire()
    engine.resume()
    await ended()
    XCTAssertEqual([time.begun, time.ended], [1, 1])
    let message = try XCTUnwrap(chat.id.flatMap(app.conversations.read)?.messages.last)
    XCTAssertEqual(message.end, .interrupted)
    XCTAssertTrue(message.text.hasPrefix(" a a"))
    XCTAssertTrue(chat.rows.last?.canGoOn ?? false)
  }

  func testTimeIsGivenBackEvenWhereTheRuntimeDoesNotStop() async throws {
    try await start()
    let slow = FakeBackgroundTime()
    let work = BackgroundWork(app.host, time: slow, patience: .zero)
    engine.pause()
    _ = chat()
    let bundle = try XCTUnwrap(app.bundles.library.item("smol")?.entry.bundle)
    XCTAssertTrue(
      app.host.submit(.init(bundle: bundle, turns: [Turn(.user, "Hi")], settings: .init(), tag: "t")))
    work.enteredBackground()
    slow.expire?()
    await until("end") { slow.ended == 1 }
    XCTAssertTrue(app.host.isBusy)
    engine.resume()
    await ended()
    XCTAssertEqual([slow.begun, slow.ended], [1, 1])
  }

  func testComingBackGivesTheTimeBack() async throws {
    _ = try await answering(pieces: 2)
    app.enteredBackground()
    app.enteredForeground()
    XCTAssertEqual([time.begun, time.ended], [1, 1])
    XCTAssertNil(app.host.stopCause)
    engine.resume()
    await ended()
  }

  func testAnIdleModelIsNoReasonForTime() async throws {
    try await start()
    app.enteredBackground()
    XCTAssertEqual(time.begun, 0)
  }

  func testAMemoryWarningFreesAnIdleModel() async throws {
    try await start()
    let chat = chat()
    await ask(chat, "Hello")
    XCTAssertFalse(engine.calls.contains(.close))
    await app.memoryWarning()
    XCTAssertEqual(engine.calls.last, .close)
    XCTAssertNil(chat.banner)
    XCTAssertNil(chat.rows.last?.end)
  }

  func testAMemoryWarningStopsAnAnswerAndSaysSo() async throws {
    let chat = try await answering(pieces: 2)
    let warned = Task { await app.memoryWarning() }
    await until("stop") { app.host.stopCause == .memory }
    engine.resume()
    await warned.value
    await ended()
    XCTAssertEqual(engine.calls.last, .close)
    XCTAssertEqual(chat.id.flatMap(app.conversations.read)?.messages.last?.end, .interrupted)
    XCTAssertEqual(chat.banner?.text, text("chat.stoppedForMemory"))
    chat.perform(.close)
    XCTAssertNil(chat.banner)
  }

  func testTheStoreHasThePartialAnswerEachSecond() async throws {
    try await start()
    let clock = Clock()
    let chats = Chats(
      store: app.conversations, host: app.host, settings: app.settings, windows: app.windows, clock: clock.read)
    engine.script(" a", " b", " c", "<|im_end|>")
    engine.pause()
    let bundle = try XCTUnwrap(app.bundles.library.item("smol")?.entry.bundle)
    let id = try XCTUnwrap(try chats.send(nil, bundle, "Hello"))
    func text() -> String? { app.conversations.read(id)?.messages.last?.text }
    engine.step(2)
    await until("text") { app.host.text == " a" }
    XCTAssertEqual(text(), "")
    clock.now = 1
    engine.step()
    await until("text") { app.host.text == " a b" }
    XCTAssertEqual(text(), " a b")
    engine.resume()
    await ended()
    XCTAssertEqual(text(), " a b c")
  }

  func testDeletingTheConversationThatIsAnsweredStopsIt() async throws {
    let chat = try await answering(pieces: 2)
    let id = try XCTUnwrap(chat.id)
    try app.chats.delete(id)
    engine.resume()
    await ended()
    XCTAssertEqual(app.conversations.list(), [])
    XCTAssertNil(chat.id)
  }

  func testAFullDiskIsSaidAndTheTextKept() async throws {
    try await start()
    let chat = chat()
    let folder = app.folders.support.appendingPathComponent("conversations")
    try? FileManager.default.removeItem(at: folder)
    try Data().write(to: folder)  // a file where the folder should be
    await ask(chat, "Hello")
    XCTAssertEqual(chat.draft, "Hello")
    XCTAssertEqual(chat.banner?.actions, [.close])
    XCTAssertFalse(app.host.isBusy)
    chat.perform(.close)
    XCTAssertNil(chat.banner)
  }

  private func coreml(free: Int64?) async throws -> BundleLibrary.Item {
    try await start(manifest(backend: "coreml", target: "cpu_and_ne"), free: free)
    return try XCTUnwrap(app.bundles.library.item("smol"))
  }

  func testTheFirstLoadOfACoreMLModelIsSaidOnce() async throws {
    let item = try await coreml(free: nil)
    let bundle = try XCTUnwrap(item.entry.bundle)
    XCTAssertTrue(app.bundles.loadingText(bundle).contains("for the first time"))
    try FileManager.default.createDirectory(  // as the delegate does
      at: app.folders.caches.appendingPathComponent("executorchcoreml/models/1"), withIntermediateDirectories: true)
    await ask(chat(), "Hello")
    XCTAssertEqual(app.bundles.loadingText(bundle), "Loading SmolLM2-135M-Instruct…")
  }

  func testWithoutRoomToCompileNothingIsLoaded() async throws {
    _ = try await coreml(free: 17)
    let chat = chat()
    await ask(chat, "Hello")
    XCTAssertEqual(chat.banner?.text, sentence(NoSpaceError(needed: 18, free: 17, purpose: .compile)))
    XCTAssertEqual(engine.calls, [])
    XCTAssertEqual(stored(chat), ["user: Hello", "assistant: "], "the message is kept")
  }

  func testWhatCameMeanwhileIsListedWhenTheAppIsBack() async throws {
    try await start()
    try writeBundle(manifest(), in: app.folders.documents, name: "pushed")
    app.enteredBackground()
    app.enteredForeground()
    await until("the new bundle") { app.bundles.library.item("pushed") != nil }
    let again = AppModel.test(in: try XCTUnwrap(folder).url, engines: engines.make)
    again.enteredForeground()
    try await Task.sleep(for: .milliseconds(50))  // in which it would look
    XCTAssertNil(again.bundles.library.items, "not before the first screen asks, as a benchmark does not")
  }

  func testWhatWasWrittenIsThereAfterTheEndOfTheProcess() async throws {
    try await start()
    let first = chat()
    await ask(first, "Hello")
    first.draft = "To be continued"
    chat().draft = "Something new"
    XCTAssertEqual(chat(first.id).draft, "To be continued")
    app.enteredBackground()
    let again = AppModel.test(in: try XCTUnwrap(folder).url, engines: engines.make)
    XCTAssertEqual(ChatModel(again, bundle: "smol", conversation: first.id).draft, "To be continued")
    XCTAssertEqual(ChatModel(again, bundle: "smol").draft, "Something new")
    XCTAssertEqual(ChatModel(again, bundle: "other").draft, "")
  }
}

private final class Clock: @unchecked Sendable {
  private let lock = NSLock()
  private var time = 0.0

  var now: Double {
    get { lock.withLock { time } }
    set { lock.withLock { time = newValue } }
  }

  var read: @Sendable () -> Double { { self.now } }
}
