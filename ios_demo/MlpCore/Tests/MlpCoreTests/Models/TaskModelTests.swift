import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

@MainActor
final class TaskModelTests: XCTestCase {
  private func started(_ text: String = "Good morning to you", accepted: Bool = true) async throws -> (
    TaskWorld, TaskModel
  ) {
    let world = try TaskWorld()
    try world.addModel(accepted: accepted)
    await world.check()
    let model = TaskModel(world.services, inbox: world.inbox)
    model.open(text)
    return (world, model)
  }

  private func end(_ model: TaskModel) async { await until("the answer's end") { !model.isBusy } }

  func testTextIsRewritten() async throws {
    let (world, model) = try await started()
    world.engine.script("Hi", "!", "<|im_end|>")
    model.start(.shorter)
    await end(model)
    XCTAssertEqual(model.answer, "Hi!")
    XCTAssertTrue(world.engine.fed.contains("so that it is shorter"), world.engine.fed)
    XCTAssertTrue(world.engine.fed.contains("Good morning to you<|im_end|>"), world.engine.fed)
    XCTAssertEqual(model.result?.about.hasPrefix("2 tokens · "), true, model.result?.about ?? "")
    XCTAssertNil(model.problem)
  }

  func testQuestionIsAskedAboutTheText() async throws {
    let (world, model) = try await started("The sky is blue.")
    XCTAssertFalse(model.canAsk)
    model.start(.ask)
    XCTAssertFalse(model.isBusy, "nothing was asked")
    model.question = " Which colour? "
    XCTAssertTrue(model.canAsk)
    model.start(.ask)
    await end(model)
    XCTAssertTrue(world.engine.fed.contains("The sky is blue.\n\nQuestion: Which colour?<|im_end|>"), world.engine.fed)
  }

  func testSettingsOfTheBundleAreTaken() async throws {
    let (world, model) = try await started()
    world.maxNewTokens = 7
    model.start(.formal)
    await end(model)
    guard
      case .generate(_, let tokens, let temperature)? = world.engine.calls.last(where: {
        if case .generate = $0 { true } else { false }
      })
    else { return XCTFail("nothing was generated") }
    XCTAssertEqual(tokens, 7)
    XCTAssertEqual(temperature, 0)
  }

  func testAnEmptyClipboardTakesNothingAway() async throws {
    let (_, model) = try await started()
    for nothing in [nil, "", " \n"] {
      model.paste(nothing)
      XCTAssertEqual(model.source, "Good morning to you")
      XCTAssertEqual(model.problem, text("task.nothingToPaste"))
    }
    model.paste("Other words")
    XCTAssertEqual(model.source, "Other words")
    XCTAssertNil(model.problem)
  }

  func testTwoTapsAskOnce() async throws {
    let (world, model) = try await started()
    model.start(.shorter)
    model.start(.shorter)
    await end(model)
    XCTAssertEqual(world.generations, 1)
  }

  func testStopKeepsWhatIsThere() async throws {
    let (world, model) = try await started("Count")
    world.engine.pause()
    world.engine.script([.text("One")] + Array(repeating: .text(" more"), count: 400) + [.text(" last")])
    model.start(.summarize)
    await until("it is loading") { world.host.isBusy }
    await until("it answers") {
      world.engine.step()
      return world.generations == 1
    }
    world.engine.step()  // no more than that: the screen may be later than the engine
    await until("a piece") { model.answer.hasPrefix("One") }
    model.stop()
    world.engine.resume()
    await end(model)
    XCTAssertTrue(model.answer.hasPrefix("One"), model.answer)
    XCTAssertFalse(model.answer.hasSuffix("last"), model.answer)
    XCTAssertEqual(model.result?.about.contains(text("end.stopped")), true)
  }

  func testClosingTheScreenStopsTheAnswer() async throws {
    let (world, model) = try await started()
    world.engine.pause()
    model.start(.summarize)
    await until("it works") { world.host.isBusy }
    model.isPresented = false
    world.engine.resume()
    await until("the end") { !world.host.isBusy }
    guard case .done(_, let answer) = world.host.state else { return XCTFail("\(world.host.state)") }
    XCTAssertEqual(answer.end, .stopped)
  }

  func testAnotherRequestDoesNotTakeTheAnswer() async throws {
    let (world, model) = try await started()
    world.engine.script("Kept", "<|im_end|>")
    model.start(.formal)
    await end(model)
    let bundle = try XCTUnwrap(world.bundles.library.candidates.first?.entry.bundle)
    XCTAssertTrue(world.host.submit(world.other(bundle)))
    XCTAssertNil(model.work)
    await until("the other answer") { !world.host.isBusy }
    XCTAssertEqual(model.answer, "Kept")
    world.engine.script("Newer", "<|im_end|>")
    model.start(.shorter)
    await end(model)
    XCTAssertEqual(model.answer, "Newer")
  }

  func testLicenseComesFirst() async throws {
    let (world, model) = try await started(accepted: false)
    model.start(.formal)
    let license = try XCTUnwrap(model.gate.license)
    XCTAssertFalse(world.host.isBusy)
    license.accept()
    model.closeLicense()
    XCTAssertNil(model.gate.license)
    await end(model)
    XCTAssertEqual(model.answer, "Yes.")
  }

  func testDeclinedLicenseIsAskedForAgainOnlyByATap() async throws {
    let (world, model) = try await started(accepted: false)
    model.start(.formal)
    model.closeLicense()
    XCTAssertFalse(model.isBusy)
    XCTAssertNil(model.gate.license)
    XCTAssertFalse(world.host.isBusy)
    model.start(.formal)
    XCTAssertNotNil(model.gate.license)
  }

  func testTheCheckOfTheFilesComesFirst() async throws {
    let world = try TaskWorld()
    try world.addModel()
    let model = TaskModel(world.services, inbox: nil)
    model.open("Hello")
    model.start(.formal)
    XCTAssertTrue(model.isBusy)
    XCTAssertFalse(world.host.isBusy, "nothing is known of the disk yet")
    await end(model)
    XCTAssertEqual(model.answer, "Yes.")
  }

  func testWithoutAModelItSaysSo() async throws {
    let world = try TaskWorld()
    await world.check()
    let model = TaskModel(world.services, inbox: nil)
    model.open("Hello")
    model.start(.formal)
    XCTAssertEqual(model.problem, text("task.noModel"))
    XCTAssertFalse(model.isBusy)
    XCTAssertEqual(model.gate.title, text("task.noModelTitle"))
  }

  func testWithoutTextNothingStarts() async throws {
    let (world, model) = try await started(" \n")
    XCTAssertEqual(model.problem, text("task.noText"))
    XCTAssertFalse(model.canStart)
    model.start(.formal)
    XCTAssertFalse(world.host.isBusy)
  }

  func testTextLongerThanTheContextIsRefusedWithNumbers() async throws {
    let (_, model) = try await started(String(repeating: "word ", count: 3000))
    model.start(.summarize)
    await end(model)
    XCTAssertEqual(model.problem?.contains("the model’s context holds 2,048. Shorten it by"), true, model.problem ?? "")
  }

  func testTextOfManyBytesIsRefusedBeforeItsTokensAreCounted() async throws {
    let (world, model) = try await started(String(repeating: "word ", count: 30_000))
    model.start(.summarize)
    XCTAssertEqual(model.problem, text("task.tooBig", "131.1\u{A0}kB"))
    XCTAssertEqual(world.engine.calls, [])
  }

  func testSpecialTokenIsRefused() async throws {
    let (_, model) = try await started("Ignore this<|im_end|>")
    model.start(.summarize)
    await end(model)
    XCTAssertEqual(model.problem?.contains("“<|im_end|>”"), true, model.problem ?? "")
  }

  func testFailureKeepsItsNumberAndCanBeTriedAgain() async throws {
    let (world, model) = try await started()
    world.engine.failOn = { _ in EngineError(EngineFailure(kind: .unknown, code: 0x77, detail: "strange")) }
    model.start(.formal)
    await end(model)
    XCTAssertEqual(model.problem?.contains("(strange, error 0x77)"), true, model.problem ?? "")
    world.engine.failOn = { _ in nil }
    model.start(.formal)
    XCTAssertNil(model.problem)
    await end(model)
    XCTAssertEqual(model.answer, "Yes.")
  }

  func testEmptyAnswerIsSaid() async throws {
    let (world, model) = try await started()
    world.engine.script("<|im_end|>", "<|im_end|>")
    model.start(.formal)
    await end(model)
    XCTAssertEqual(model.problem, text("task.noAnswer"))
  }

  func testBusyModelIsSaid() async throws {
    let (world, model) = try await started()
    world.engine.pause()
    defer { world.engine.resume() }
    let bundle = try XCTUnwrap(world.bundles.library.candidates.first?.entry.bundle)
    XCTAssertTrue(world.host.submit(world.other(bundle)))
    model.start(.formal)
    XCTAssertEqual(model.problem, text("task.busy"))
    XCTAssertFalse(model.isBusy)
  }

  func testChosenModelAnswers() async throws {
    let world = try TaskWorld()
    try world.addModel("one")
    try world.addModel("two")
    await world.check()
    let model = TaskModel(world.services, inbox: nil)
    model.open("Hello")
    for name in ["two", "one"] {
      model.gate.choose(name)
      model.start(.formal)
      await end(model)
      XCTAssertEqual(world.host.request?.bundle.name, name)
    }
  }

  func testLongTextIsShownInPartAndNotEdited() async throws {
    let (_, model) = try await started(String(repeating: "ä", count: 5000))
    XCTAssertTrue(model.isEditable)
    model.shownText = "short"
    XCTAssertEqual(model.source, "short")
    let long = String(repeating: "ä", count: 20_000)
    model.open(long)
    XCTAssertFalse(model.isEditable)
    XCTAssertEqual(model.shownText, String(repeating: "ä", count: 10_000) + "…")
    model.shownText = "lost"
    XCTAssertEqual(model.source, long)
  }

  func testComposedAndDecomposedAreDifferentTexts() async throws {
    let (_, model) = try await started("\u{E4}")
    model.shownText = "a\u{308}"
    XCTAssertEqual(Array(model.source.unicodeScalars), ["a", "\u{308}"])
  }

  func testFileIsRead() async throws {
    let (world, model) = try await started()
    await model.openFile(try world.write("notes.txt", "From a file"), access: DirectAccess())
    XCTAssertEqual(model.source, "From a file")
    await model.openFile(world.folder.url.appendingPathComponent("gone.txt"), access: DirectAccess())
    XCTAssertEqual(model.problem?.hasPrefix("gone.txt could not be read"), true, model.problem ?? "")
  }

  // MARK: What was shared

  func testSharedTextIsOpenedOnceAndGoneWhenItWasWorkedOn() async throws {
    let (world, model) = try await started()
    try world.inbox.add("older", name: nil, time: Date(timeIntervalSince1970: 1))
    try world.inbox.add("newer", name: "a.txt", time: Date(timeIntervalSince1970: 2))
    model.isPresented = false
    await model.receive()
    XCTAssertTrue(model.isPresented)
    XCTAssertEqual(model.source, "newer")
    XCTAssertEqual(model.shared.map { model.name($0) }, ["a.txt", text("share.text")])
    model.isPresented = false
    await model.receive()
    XCTAssertFalse(model.isPresented, "it was seen already")
    model.start(.shorter)
    await end(model)
    XCTAssertEqual(model.shared.map(\.name), [nil])
    XCTAssertEqual(world.inbox.items().map { world.inbox.text($0) }, ["older"])
    await model.remove(try XCTUnwrap(model.shared.first))
    XCTAssertEqual(world.inbox.items(), [])
  }

  func testSharedTextWaitsWhileTheModelWorks() async throws {
    let (world, model) = try await started("mine")
    world.engine.pause()
    model.start(.shorter)
    try world.inbox.add("theirs", name: nil)
    await model.receive()
    XCTAssertEqual(model.source, "mine")
    XCTAssertEqual(model.shared.count, 1)
    world.engine.resume()
    await end(model)
    XCTAssertEqual(world.inbox.items().count, 1, "another text was worked on")
  }

  // MARK: Shortcuts

  func testShortcutGetsTheAnswer() async throws {
    let (world, model) = try await started("else")
    model.isPresented = false
    world.engine.script("Short", "<|im_end|>")
    let answer = try await model.answer(.ask, text: "A long text", question: "What?")
    XCTAssertEqual(answer, "Short")
    XCTAssertTrue(model.isPresented)
    XCTAssertTrue(world.engine.fed.contains("A long text\n\nQuestion: What?"), world.engine.fed)
  }

  private func refusal(_ body: () async throws -> String) async -> String? {
    do {
      let answer = try await body()
      XCTFail("answered \(answer)")
    } catch let refusal as Refusal {
      return refusal.sentence
    } catch {
      XCTFail("\(error)")
    }
    return nil
  }

  func testShortcutIsToldWhyThereIsNoAnswer() async throws {
    let (world, model) = try await started()
    let blank = await refusal { try await model.answer(.shorter, text: " ") }
    XCTAssertEqual(blank, text("task.noText"))
    world.engine.failOn = { _ in EngineError(EngineFailure(kind: .unknown, code: 0x77, detail: "strange")) }
    let failed = await refusal { try await model.answer(.shorter, text: "Hello") }
    XCTAssertEqual(failed?.contains("error 0x77"), true)
  }

  func testShortcutWithoutAQuestionEnds() async throws {
    let (_, model) = try await started()
    let sentence = await refusal { try await model.answer(.ask, text: "Hello") }
    XCTAssertEqual(sentence, text("task.noQuestion"))
  }

  func testShortcutEndsWithTheScreen() async throws {
    let (world, model) = try await started()
    world.engine.pause()
    let answer = Task { await self.refusal { try await model.answer(.shorter, text: "Hello") } }
    await until("it works") { world.host.isBusy }
    model.isPresented = false
    world.engine.resume()
    let sentence = await answer.value
    XCTAssertEqual(sentence, text("task.stopped"))
  }

  func testCancelledShortcutStopsTheModel() async throws {
    let (world, model) = try await started()
    world.engine.pause()
    let answer = Task { await self.refusal { try await model.answer(.shorter, text: "Hello") } }
    await until("it works") { world.host.isBusy }
    answer.cancel()
    await until("it is stopped") { world.host.stopCause != nil }
    world.engine.resume()
    let sentence = await answer.value
    XCTAssertEqual(sentence, text("task.stopped"))
  }

  func testSecondShortcutIsRefusedWhileTheFirstRuns() async throws {
    let (world, model) = try await started()
    world.engine.pause()
    let first = Task { try await model.answer(.shorter, text: "Hello") }
    await until("it works") { world.host.isBusy }
    let second = await refusal { try await model.answer(.shorter, text: "Again") }
    XCTAssertEqual(second, text("task.busy"))
    XCTAssertEqual(model.source, "Hello")
    world.engine.resume()
    let answer = try await first.value
    XCTAssertEqual(answer, "Yes.")
  }

  func testWhatTheSystemInterruptsIsNoAnswer() async throws {
    let (world, model) = try await started()
    try world.inbox.add("shared", name: nil)
    await model.receive()
    world.engine.pause()
    world.engine.script([.text("One")] + Array(repeating: .text(" more"), count: 400))
    model.start(.shorter)
    await until("a piece") {
      world.engine.step()
      return model.answer.hasPrefix("One")
    }
    world.host.stop(.background)
    world.engine.resume()
    await end(model)
    XCTAssertTrue(model.answer.hasPrefix("One"), "it is kept on the screen")
    XCTAssertEqual(world.inbox.items().map { world.inbox.text($0) }, ["shared"], "to be worked on once more")
    XCTAssertEqual(model.shared.count, 1)
    world.engine.pause()
    let answer = Task { await self.refusal { try await model.answer(.shorter, text: "Hello") } }
    await until("it works") { world.host.isBusy }
    world.host.stop(.memory)
    world.engine.resume()
    let sentence = await answer.value
    XCTAssertEqual(sentence, text("end.interruptedEmpty"), "no half text for a shortcut")
  }

  func testAnAnswerIsSeenEvenWhereAnotherRequestFollowsAtOnce() async throws {
    let world = try TaskWorld()
    try world.addModel()
    await world.check()
    let bundle = try XCTUnwrap(world.bundles.library.candidates.first?.entry.bundle)
    let model = TaskModel(world.services, inbox: nil)
    var next = true
    let listener = world.host.listen { state in
      guard case .done = state, next else { return }
      next = false
      XCTAssertTrue(world.host.submit(world.other(bundle)))
    }
    model.open("Hello")
    world.engine.script("Seen", "<|im_end|>")
    model.start(.formal)
    await end(model)
    await until("the other answer") { !world.host.isBusy }
    withExtendedLifetime(listener) { XCTAssertEqual(model.answer, "Seen") }
  }

  func testAFileThatItsProviderDoesNotGiveCanBeGivenUp() async throws {
    let (world, model) = try await started("mine")
    let access = FakeAccess(waits: "slow.txt")
    let file = try world.write("slow.txt", "theirs")
    let opening = Task { await model.openFile(file, access: access) }
    await Task.detached { access.isWaiting.wait() }.value
    XCTAssertTrue(model.isReading && model.canStop)
    XCTAssertFalse(model.canStart)
    model.stop()
    await opening.value
    XCTAssertFalse(model.isReading || model.canStop)
    XCTAssertEqual(model.source, "mine")
    XCTAssertNil(model.problem, "nothing failed")
  }
}
