import ExecuTorchLLM
import Foundation
import MlpCore
import XCTest

@testable import MlpDemo

/// The app's engine and session on ExecuTorch's own text runner and real bundles. RUNNER names the folder of its pipes,
/// BUNDLES that of the bundles `real` and `tiny` and of answers.json: what the host answered, question -> text.
///
/// Not a phone: the runner is the Linux build of the same C++ class, and ends at a token that is half a character.
final class RealRuntimeTests: XCTestCase {
  nonisolated(unsafe) private static var connection: RemoteRunner.Connection?
  private var real: ModelBundle!
  private var tiny: ModelBundle!
  private var answers: [String: String] = [:]
  private let greedy = GenerationSettings(maxNewTokens: 64)

  override func setUpWithError() throws {
    let environment = ProcessInfo.processInfo.environment
    guard let folder = environment["RUNNER"], !folder.isEmpty, let path = environment["BUNDLES"] else {
      throw XCTSkip("RUNNER and BUNDLES are not set: nothing runs on the real runtime")
    }
    let bundles = URL(fileURLWithPath: path)
    real = try ModelBundle.open(bundles.appendingPathComponent("real"))
    tiny = try ModelBundle.open(bundles.appendingPathComponent("tiny"))
    let text = try Data(contentsOf: bundles.appendingPathComponent("answers.json"))
    answers = try JSONDecoder().decode([String: String].self, from: text)
    if Self.connection == nil { Self.connection = RemoteRunner.Connection(folder: folder) }
    let connection = try XCTUnwrap(Self.connection, "nothing serves \(folder)")
    TextRunner.native = { RemoteRunner(connection, model: $0, tokenizer: $1) }
  }

  func testAnswersAreTheHostsInSeveralSteps() throws {
    let session = try session(real)
    XCTAssertEqual(answers.count, 3)
    for (question, expected) in answers {
      let steps = Steps()
      let answer = try session.answer([user(question)], greedy, steps)
      XCTAssertEqual(answer.text, expected)
      XCTAssertEqual(answer.end, .complete)
      XCTAssertGreaterThan(steps.texts.count, 3)
      XCTAssertEqual(steps.texts.last, expected)
      XCTAssertEqual(answer.statistics.lostCharacters, 0)
    }
  }

  func testSecondTurnPrefillsItsOwnTextAloneAndAnswersAsTheWholeConversationDoes() throws {
    let first = [user("What is the capital of Japan?")]
    let one = try session(real)
    let answer = try one.answer(first, greedy, Steps())
    let second = first + [Turn(.assistant, answer.text), user("And of France?")]
    let continued = try one.answer(second, greedy, Steps())
    let fresh = try session(real).answer(second, greedy, Steps())
    XCTAssertEqual(continued.text, fresh.text)
    XCTAssertEqual(fresh.statistics.cachedTokens, 0)
    XCTAssertEqual(
      continued.statistics.cachedTokens + continued.statistics.promptTokens, fresh.statistics.promptTokens)
    // The prompt and all of the answer but its last token, which was sampled and never fed.
    XCTAssertEqual(
      continued.statistics.cachedTokens, answer.statistics.promptTokens + answer.statistics.answerTokens)
  }

  func testAnotherQuestionIsAnsweredAsIfItWereTheFirst() throws {
    let session = try session(real)
    _ = try session.answer([user("Tell me about rivers.")], .init(maxNewTokens: 9), Steps())
    let (question, expected) = try XCTUnwrap(answers.first)
    XCTAssertEqual(try session.answer([user(question)], greedy, Steps()).text, expected)
  }

  func testLimitOfTokensEndsAnAnswerAndTheNextTurnContinuesItExactly() throws {
    // A question with one likely answer: steps and chunks round differently, and a near tie would show that alone.
    let first = [user("Tell me about rivers.")]
    let twelve = GenerationSettings(maxNewTokens: 12)
    let one = try session(real)
    let cut = try one.answer(first, twelve, Steps())
    XCTAssertEqual(cut.end, .maxTokens)
    XCTAssertEqual(cut.statistics.answerTokens, 12)
    let second = first + [Turn(.assistant, cut.text), user("What is the capital of France?")]
    let continued = try one.answer(second, twelve, Steps())
    let fresh = try session(real).answer(second, twelve, Steps())
    XCTAssertEqual(continued.text, fresh.text)
    XCTAssertGreaterThan(continued.statistics.cachedTokens, cut.statistics.promptTokens)
  }

  func testStopEndsAnAnswerAtItsFirstPieceAndLater() throws {
    let session = try session(real)
    for pieces in [1, 3] {
      let steps = Steps { $0.texts.count >= pieces }
      let answer = try session.answer([user("Tell me a long story about a river.")], greedy, steps)
      XCTAssertEqual(answer.end, .stopped)
      // The runtime loses a stop on the first token.
      XCTAssertTrue((pieces...pieces + 2).contains(answer.statistics.answerTokens), "\(answer.statistics)")
    }
  }

  func testLongPromptGoesInSlicesIsCancelledBetweenThemAndAnswersTheSameInTheEnd() throws {
    let words = String(repeating: "river stone cloud ", count: 110)
    let turns = [user("Here are words: \(words)\nWhat is the capital of Japan?")]
    let session = try session(real)
    let cancelled = try session.answer(turns, greedy, Steps { $0.prefills.count >= 2 })
    XCTAssertEqual(cancelled.end, .stopped)
    XCTAssertEqual(cancelled.text, "")
    let steps = Steps()
    let answer = try session.answer(turns, greedy, steps)
    // What was fed before the cancel is not fed again.
    XCTAssertGreaterThan(cancelled.statistics.promptTokens, 0)
    XCTAssertEqual(answer.statistics.cachedTokens, cancelled.statistics.promptTokens)
    XCTAssertGreaterThan(steps.prefills.count, 2)

    let chat = try XCTUnwrap(real.manifest.chat)
    var whole = ""
    _ = try engine(real).generate(chat.compose(turns), maxNewTokens: 64, temperature: 0) { whole += $0 }
    let stop = try XCTUnwrap(whole.range(of: chat.stop[0]))
    XCTAssertEqual(answer.text, String(whole[..<stop.lowerBound]))
  }

  func testLastSlotOfTheContextIsUsedAndNoMore() throws {
    let tokenizer = openTokenizer(tiny.tokenizer)
    XCTAssertNil(tokenizer.inexactBecause)
    var prompt = "a"
    while tokenizer.count(prompt).tokens < tiny.manifest.context - 3 { prompt += "b" }
    let room = tiny.manifest.context - tokenizer.count(prompt).tokens + 1
    let engine = try engine(tiny)
    let stats = try engine.generate(prompt, maxNewTokens: room, temperature: 0) { _ in }
    XCTAssertEqual(stats.generatedTokens, room)
    try engine.reset()
    var pieces = 0
    XCTAssertThrowsError(try engine.generate(prompt, maxNewTokens: room + 1, temperature: 0) { _ in pieces += 1 }) {
      XCTAssertEqual(($0 as? EngineError)?.failure.kind, .contextFull)
      XCTAssertEqual(($0 as? EngineError)?.failure.code, 0x12)
    }
    XCTAssertEqual(pieces, room)
    try engine.reset()  // and the engine works on
    XCTAssertEqual(try engine.generate(prompt, maxNewTokens: 1, temperature: 0) { _ in }.generatedTokens, 1)
  }

  func testSessionFillsTheContextToItsLastSlot() throws {
    let session = try session(tiny)
    let answer = try session.answer([user("abc")], .init(maxNewTokens: 1000), Steps())
    XCTAssertEqual(answer.end, .contextFull)
    // The last token is sampled and needs no slot.
    XCTAssertEqual(
      answer.statistics.promptTokens + answer.statistics.answerTokens, tiny.manifest.context + 1)
  }

  func testPromptLongerThanTheContextIsRefusedBeforeItIsFed() throws {
    let steps = Steps()
    XCTAssertThrowsError(
      try session(real).answer([user(String(repeating: "word ", count: 3000))], greedy, steps)
    ) { error in
      XCTAssertEqual((error as? PromptError)?.problem, .tooLong)
      XCTAssertEqual((error as? PromptError)?.context, real.manifest.context)
    }
    XCTAssertEqual(steps.prefills, [])
  }

  func testDamagedAndMissingFilesAreToldApart() throws {
    // Beside the bundles, where the runner's process sees it.
    let folder = real.folder.deletingLastPathComponent().appendingPathComponent("damaged")
    try? FileManager.default.removeItem(at: folder)
    try FileManager.default.copyItem(at: real.folder, to: folder)
    defer { try? FileManager.default.removeItem(at: folder) }
    let bundle = ModelBundle(folder: folder, manifest: real.manifest)
    func kind(_ damage: () throws -> Void) throws -> EngineFailure.Kind? {
      try damage()
      do {
        try TextRunnerEngine(bundle).load()
        return nil
      } catch let error as EngineError {
        return error.failure.kind
      }
    }
    XCTAssertNil(try kind {})
    XCTAssertEqual(try kind { try Data("{}".utf8).write(to: bundle.pte) }, .notAProgram)
    XCTAssertEqual(try kind { try Data().write(to: bundle.pte) }, .notAProgram)
    XCTAssertEqual(try kind { try FileManager.default.removeItem(at: bundle.pte) }, .missingFile)
    try FileManager.default.copyItem(at: real.pte, to: bundle.pte)
    XCTAssertEqual(try kind { try Data("{}".utf8).write(to: bundle.tokenizer) }, .notAProgram)
    XCTAssertEqual(try kind { try FileManager.default.removeItem(at: bundle.tokenizer) }, .missingFile)
  }

  func testTemperatureBeyondTheRangeIsAnErrorOfTheRunnerThatTheEngineKeepsFrom() throws {
    let engine = try engine(tiny)
    // Below the range, so that it ends at 0: tokens that are drawn may be no text, which the runner's binding refuses.
    XCTAssertEqual(try engine.generate("abc", maxNewTokens: 2, temperature: -7) { _ in }.generatedTokens, 2)
    let connection = try XCTUnwrap(Self.connection)
    let runner = RemoteRunner(connection, model: tiny.pte.path, tokenizer: tiny.tokenizer.path)
    try runner.load()
    let config = Config {
      $0.temperature = -7
      $0.maximumNewTokens = 2
      $0.isEchoEnabled = false
    }
    TextRunner.native = { _, _ in runner }
    let text = TextRunner(modelPath: "", tokenizerPath: "")
    var pieces = 0
    XCTAssertThrowsError(try text.generate("abc", config) { _ in pieces += 1 })
    XCTAssertEqual(pieces, 1)  // the check stands behind the first token
  }

  private func engine(_ bundle: ModelBundle) throws -> TextRunnerEngine {
    let engine = TextRunnerEngine(bundle)
    try engine.load()
    return engine
  }

  private func session(_ bundle: ModelBundle) throws -> ChatSession {
    ChatSession(engine: try engine(bundle), manifest: bundle.manifest, tokenizer: openTokenizer(bundle.tokenizer))
  }

  private func user(_ text: String) -> Turn { Turn(.user, text) }
}

private final class Steps: AnswerListener {
  var texts: [String] = []
  var prefills: [Int] = []
  private let until: (Steps) -> Bool

  init(until: @escaping (Steps) -> Bool = { _ in false }) { self.until = until }

  func prefilled(_ done: Int, of total: Int) { prefills.append(done) }

  func wrote(_ text: String) { texts.append(text) }

  var isCancelled: Bool { until(self) }
}
