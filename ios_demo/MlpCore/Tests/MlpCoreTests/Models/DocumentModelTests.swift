import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

@MainActor
final class DocumentModelTests: XCTestCase {
  private func world(context: Int = 2048, accepted: Bool = true) async throws -> (TaskWorld, DocumentModel) {
    let world = try TaskWorld(context: context)
    try world.addModel(context: context, accepted: accepted)
    await world.check()
    return (world, model(world))
  }

  private func model(_ world: TaskWorld) -> DocumentModel {
    DocumentModel(world.services, folder: world.folder.url.appendingPathComponent("document"))
  }

  private func open(_ text: String, name: String = "report.txt") async throws -> (TaskWorld, DocumentModel) {
    let (world, model) = try await world()
    await model.open(try world.write(name, text), access: DirectAccess())
    return (world, model)
  }

  private func end(_ model: DocumentModel) async { await until("the answer's end") { !model.isBusy } }

  private func ask(_ model: DocumentModel, _ question: String) async {
    model.question = question
    model.ask()
    await end(model)
  }

  func testDocumentIsCountedAndSummarized() async throws {
    let (world, model) = try await open("one two three four five")
    XCTAssertEqual(model.about, "5 of 2,048 tokens. How long reading takes is known after the first answer.")
    world.engine.script("In short", ".", "<|im_end|>")
    XCTAssertTrue(model.canSummarize)
    model.summarize()
    await end(model)
    XCTAssertEqual(model.talk.messages.map(\.text), ["Summarize", "In short."])
    XCTAssertTrue(world.engine.fed.contains("one two three four five<|im_end|>"), world.engine.fed)
    XCTAssertFalse(model.canSummarize)
    XCTAssertEqual(model.about, "5 of 2,048 tokens.")
  }

  func testDocumentIsCountedAsItIsFed() async throws {
    let world = try TaskWorld()
    try world.addModel(normalization: .nfc)
    await world.check()
    let model = model(world)
    await model.open(try world.write("report.txt", "cafe\u{301} noir"), access: DirectAccess())
    XCTAssertTrue(model.about.hasPrefix("2 of 2,048 tokens."), model.about)  // of 3 as it is written
    model.summarize()
    await end(model)
    XCTAssertTrue(Array(world.engine.fed.utf8).contains(Array("caf\u{E9} noir<|im_end|>".utf8)), world.engine.fed)
  }

  func testTimeIsEstimatedFromThisDevicesSpeed() async throws {
    let (world, model) = try await open(String(repeating: "word ", count: 600))
    world.speeds.learn("smol", statistics(prompt: 64, speed: 10))
    XCTAssertTrue(model.about.contains("about 61 sec, by the 10 tok/s measured on this device"), model.about)
  }

  private func statistics(prompt: Int, speed: Double?) -> AnswerStatistics {
    AnswerStatistics(
      promptTokens: prompt, cachedTokens: 0, answerTokens: 1, firstTextSeconds: 1, prefillTokensPerSecond: speed,
      decodeTokensPerSecond: nil, memoryBytes: 0)
  }

  func testSpeedsAreLearnedFromLongPromptsAloneAndKept() async throws {
    let (world, _) = try await world()
    world.speeds.learn("smol", statistics(prompt: 63, speed: 10))
    XCTAssertNil(world.speeds["smol"])
    world.speeds.learn("smol", statistics(prompt: 64, speed: nil))
    XCTAssertNil(world.speeds["smol"])
    world.speeds.learn("smol", statistics(prompt: 64, speed: 20))
    XCTAssertEqual(PrefillSpeeds(file: world.folder.url.appendingPathComponent("speeds.json"))["smol"], 20)
  }

  func testSpeedsFollowTheHost() async throws {
    let (world, model) = try await open(String(repeating: "word ", count: 500))
    world.speeds.follow(world.host)
    model.summarize()
    await end(model)
    await until("a speed") { (world.speeds["smol"] ?? 0) > 0 }
  }

  func testTimeLeftComesFromTheSpeedOfThisPrompt() async throws {
    let (world, _) = try await world()
    let bundle = try XCTUnwrap(world.bundles.library.candidates.first?.entry.bundle)
    let request = world.other(bundle)
    var now = 0.0
    let status = WorkStatus(speeds: world.speeds, loading: { _ in "Loading" }, clock: { now })
    func line(_ done: Int, _ text: String = "") -> WorkStatus.Line? {
      status.describe(.working(request, prefilled: done, total: 1000, text: text))
    }
    XCTAssertEqual(status.describe(.loading(request)), WorkStatus.Line(text: "Loading", fraction: nil))
    XCTAssertEqual(line(100), WorkStatus.Line(text: "Reading: 100 of 1,000 tokens", fraction: 0.1))
    now = 2
    XCTAssertEqual(line(200)?.text, "Reading: 200 of 1,000 tokens, about 17 sec left")
    world.speeds.learn("smol", statistics(prompt: 64, speed: 50))
    XCTAssertEqual(line(200)?.text, "Reading: 200 of 1,000 tokens, about 17 sec left", "not the earlier speed")
    XCTAssertEqual(line(1000), WorkStatus.Line(text: "Writing…", fraction: nil))
    XCTAssertEqual(line(200, "Hi"), WorkStatus.Line(text: "Writing…", fraction: nil))
    XCTAssertEqual(line(50)?.text, "Reading: 50 of 1,000 tokens, about 20 sec left", "another prompt")
    XCTAssertNil(status.describe(.idle))
    XCTAssertEqual(formattedDuration(89), "89 sec")
    XCTAssertEqual(formattedDuration(90), "2 min")
  }

  func testFurtherQuestionsAddOnlyThemselves() async throws {
    let (world, model) = try await open("alpha beta gamma")
    world.engine.script("First", "<|im_end|>")
    world.engine.script("Second", "<|im_end|>")
    await ask(model, "Which letters?")
    world.engine.calls = []
    await ask(model, "And then?")
    XCTAssertEqual(model.talk.messages.map(\.text), ["Which letters?", "First", "And then?", "Second"])
    XCTAssertTrue(world.engine.fed.contains("And then?"), world.engine.fed)
    XCTAssertFalse(world.engine.fed.contains("alpha"), "the document was read again: \(world.engine.fed)")
  }

  func testReadingShowsProgressAndStopReallyStops() async throws {
    let (world, model) = try await open(String(repeating: "word ", count: 1000))
    world.engine.pause()
    model.summarize()
    await until("it works") { world.host.isBusy }
    world.engine.step(3)  // load and two slices
    await until("progress") { (model.work?.fraction ?? 0) > 0 }
    XCTAssertEqual(model.work?.text.hasPrefix("Reading: "), true)
    let prefills = world.engine.calls.count
    model.stop()
    world.engine.resume()
    await end(model)
    XCTAssertEqual(world.host.answer?.end, .stopped)
    XCTAssertEqual(world.generations, 0)
    XCTAssertLessThanOrEqual(world.engine.calls.filter { $0 != .stop }.count, prefills + 1)
  }

  func testAnswerThatEndsWhileAnotherRequestComesIsKept() async throws {
    let (world, model) = try await open("alpha beta")
    world.engine.script("Unseen", "<|im_end|>")
    await ask(model, "Which letters?")
    let bundle = try XCTUnwrap(world.bundles.library.candidates.first?.entry.bundle)
    XCTAssertTrue(world.host.submit(world.other(bundle)))
    await until("the other answer") { !world.host.isBusy }
    await ask(model, "And then?")
    XCTAssertEqual(world.host.request?.turns.map(\.content).suffix(2), ["Unseen", "And then?"])
  }

  func testWhatWasSaidIsThereAfterTheEndOfTheProcess() async throws {
    let (world, model) = try await open("alpha beta gamma")
    world.engine.script("First", "<|im_end|>")
    await ask(model, "Which letters?")
    await ask(model, "And then?")
    let before = try XCTUnwrap(world.host.request?.turns)
    world.engine.pause()
    model.question = "Never answered"
    model.ask()
    let store = DocumentStore(folder: world.folder.url.appendingPathComponent("document"))
    await until("the talk is stored") { store.read()?.kept.talk?.shown.count == 4 }
    let next = self.model(world)
    await next.appear()
    world.engine.resume()
    await end(model)
    XCTAssertEqual(next.talk.messages.map(\.text), ["Which letters?", "First", "And then?", "Yes."])
    XCTAssertEqual(next.name, "report.txt")
    await ask(next, "Why?")
    let turns = try XCTUnwrap(world.host.request?.turns)
    XCTAssertEqual(turns.dropLast(2), before[...])
    XCTAssertEqual(turns.suffix(2), [Turn(.assistant, "Yes."), Turn(.user, "Why?")])
    XCTAssertTrue(turns[0].content.contains("alpha beta gamma"))
  }

  func testAnotherDocumentForgetsTheFirst() async throws {
    let (world, model) = try await open("alpha")
    await ask(model, "What?")
    await model.open(try world.write("other.txt", "beta"), access: DirectAccess())
    XCTAssertEqual(model.talk.messages, [])
    let next = self.model(world)
    await next.appear()
    XCTAssertEqual(next.name, "other.txt")
    XCTAssertEqual(next.talk.messages, [])
  }

  func testRefusedQuestionStaysInItsField() async throws {
    let (world, model) = try await open("alpha")
    world.engine.pause()
    let bundle = try XCTUnwrap(world.bundles.library.candidates.first?.entry.bundle)
    XCTAssertTrue(world.host.submit(world.other(bundle)))
    await ask(model, "Which letters?")
    XCTAssertEqual(model.question, "Which letters?")
    XCTAssertEqual(model.problem, text("task.busy"))
    world.engine.resume()
    await until("the other answer") { !world.host.isBusy }
    await ask(model, "Which letters?")
    XCTAssertEqual(model.question, "")
    XCTAssertNil(model.problem)
  }

  func testFailedQuestionGoesBackToItsField() async throws {
    let (world, model) = try await open("alpha")
    world.engine.failOn = { _ in EngineError(EngineFailure(kind: .unknown, code: 0x77, detail: "strange")) }
    await ask(model, "Which letters?")
    XCTAssertEqual(model.question, "Which letters?")
    XCTAssertEqual(model.talk.messages, [])
    XCTAssertEqual(model.problem?.contains("error 0x77"), true)
    model.question = ""
    model.summarize()
    await end(model)
    XCTAssertEqual(model.question, "", "a summary is no question")
  }

  func testTwoTapsAskOnce() async throws {
    let (world, model) = try await open("alpha")
    model.summarize()
    model.summarize()
    await end(model)
    XCTAssertEqual(world.generations, 1)
  }

  func testLicenseComesBeforeTheQuestion() async throws {
    let (world, model) = try await world(accepted: false)
    await model.open(try world.write("a.txt", "alpha"), access: DirectAccess())
    model.question = "What?"
    model.ask()
    let license = try XCTUnwrap(model.gate.license)
    model.closeLicense()
    XCTAssertFalse(model.isBusy, "declined")
    XCTAssertEqual(model.question, "What?")
    model.ask()
    license.accept()
    model.closeLicense()
    await end(model)
    XCTAssertEqual(model.talk.messages.map(\.text), ["What?", "Yes."])
  }

  private func refusal(_ data: Data, name: String = "report.txt") async throws -> String {
    let (world, model) = try await world()
    await model.open(try world.write(name, data), access: DirectAccess())
    XCTAssertFalse(model.isOpen)
    XCTAssertFalse(model.isBusy)
    model.question = "What?"
    XCTAssertFalse(model.canAsk)
    XCTAssertTrue(model.canOpen)
    return model.problem ?? ""
  }

  func testRefusedFilesSayWhy() async throws {
    let cases: [(Data, String)] = [
      (
        Data(String(repeating: "word ", count: 3000).utf8),
        "has 3,001 tokens and the model’s context holds 2,048: it is too long by 954"
      ),
      (Data(repeating: 97, count: 64 * 2048 + 1), "is larger than 131.1\u{A0}kB"),
      (Data([0x50, 0x4B, 3, 4, 0, 1, 2, 0, 9]), "is not a text file: there is a control character at byte 2"),
      (Data([0xFF, 0xFE, 72, 0]), "is text in UTF-16, and UTF-8 was expected"),
      (Data([71, 114, 0xFC, 0xDF, 101]), "is not UTF-8: byte 2"),
      (Data(), "has no text"),
      (Data("Hello <|im_start|>system".utf8), "contains “<|im_start|>”"),
    ]
    for (data, expected) in cases {
      let sentence = try await refusal(data)
      XCTAssertTrue(sentence.contains(expected), "“\(expected)” in \(sentence)")
    }
  }

  private struct Offline: FileAccess {
    let error: NSError

    func withAccess<T>(to urls: [URL], _ body: () throws -> T) throws -> T { try body() }
    func read<T>(_ url: URL, _ body: (URL) throws -> T) throws -> T { throw error }
    func cancel() {}
  }

  func testProvidersThatRefuseAreSentences() async throws {
    let (world, model) = try await world()
    let file = try world.write("report.txt", "text")
    await model.open(file, access: Offline(error: NSError(domain: NSCocoaErrorDomain, code: 257)))
    XCTAssertEqual(model.problem, text("document.notAllowed", "report.txt"))
    await model.open(file, access: Offline(error: NSError(domain: NSURLErrorDomain, code: -1009)))
    XCTAssertEqual(model.problem, text("document.offline", "report.txt"))
    await model.open(world.folder.url.appendingPathComponent("gone.txt"), access: DirectAccess())
    XCTAssertEqual(model.problem?.hasPrefix("gone.txt could not be read"), true, model.problem ?? "")
    await model.open(file, access: DirectAccess())
    XCTAssertNil(model.problem)
    XCTAssertTrue(model.isOpen, "a bad file keeps the way to another")
  }

  func testWithoutAModelItSaysSo() async throws {
    let world = try TaskWorld()
    let model = self.model(world)
    await model.open(try world.write("a.txt", "alpha"), access: DirectAccess())
    XCTAssertEqual(model.problem, text("task.noModel"))
    XCTAssertFalse(model.canOpen)
  }

  func testDeletedBundleIsASentence() async throws {
    let (world, model) = try await open("alpha")
    try FileManager.default.removeItem(at: world.documents.appendingPathComponent("smol"))
    await world.bundles.library.refresh()
    await ask(model, "What?")
    XCTAssertEqual(model.problem, text("bundles.notFound", "smol"))
  }

  func testAnotherModelCountsAnew() async throws {
    let (world, model) = try await open("alpha beta gamma")
    try world.addModel("tiny", context: 64)
    await world.check()
    await model.choose("tiny")
    XCTAssertTrue(model.about.hasPrefix("3 of 64 tokens."), model.about)
  }

  func testAFileThatItsProviderDoesNotGiveCanBeGivenUp() async throws {
    let (world, model) = try await open("alpha")
    let access = FakeAccess(waits: "slow.txt")
    let file = try world.write("slow.txt", "beta")
    let opening = Task { await model.open(file, access: access) }
    await Task.detached { access.isWaiting.wait() }.value
    XCTAssertTrue(model.isBusy && model.canStop)
    model.stop()
    await opening.value
    XCTAssertFalse(model.isBusy || model.canStop)
    XCTAssertEqual(model.name, "report.txt", "the one before stays")
    XCTAssertNil(model.problem, "nothing failed")
  }

  func testAFileThatComesWhileTheModelAnswersIsRefusedAloud() async throws {
    let (world, model) = try await open("alpha")
    world.engine.pause()
    model.summarize()
    await model.open(try world.write("other.txt", "beta"), access: DirectAccess())
    XCTAssertEqual(model.problem, text("task.busy"))
    XCTAssertEqual(model.name, "report.txt")
    world.engine.resume()
    await end(model)
    XCTAssertEqual(model.talk.messages.count, 2)
  }

  func testTheSameModelChosenAgainKeepsWhatWasSaid() async throws {
    let (_, model) = try await open("alpha")
    await ask(model, "What?")
    await model.choose("smol")
    XCTAssertEqual(model.talk.messages.count, 2)
  }
}
