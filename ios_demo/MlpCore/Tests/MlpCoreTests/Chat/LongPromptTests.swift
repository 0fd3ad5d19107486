import MlpFixtures
import XCTest

@testable import MlpCore

/// Slices of a long prompt, cancel, and the end of the context.
final class LongPromptTests: ChatSessionTestCase {
  private let next = "\(stop)\n<|im_start|>user\nOn\(stop)\n<|im_start|>assistant\n"

  func testALongPromptGoesInSlicesWithProgress() throws {
    let answer = try session(manifest(prefillChunk: 16)).ask(user(repeated("word", 40)), listener: listener)
    XCTAssertEqual(slices.map(words), [16, 16])
    let total = answer.statistics.promptTokens
    XCTAssertEqual(listener.prefilled, [[0, total], [16, total], [32, total], [total, total]])
    assertBytes(engine.fed, try chatml.compose([user(repeated("word", 40))]))
  }

  func testCancelBetweenSlicesEndsItAndWhatWentInIsNotFedAgain() throws {
    let session = session(manifest(prefillChunk: 8))
    let turn = user(repeated("word", 40))
    let answer = try session.ask(turn, listener: RecordingListener(cancelsAtPrefill: { $0 >= 16 }))
    XCTAssertEqual(answer.end, .stopped)
    XCTAssertEqual(answer.text, "")
    XCTAssertEqual(answer.statistics.promptTokens, 16)
    XCTAssertEqual(generated.count, 0)
    let before = engine.fed
    engine.calls = []
    let again = try session.ask(turn)
    assertBytes(before + engine.fed, try chatml.compose([turn]))
    XCTAssertEqual(again.statistics.cachedTokens, 16)
    XCTAssertEqual(resets, 0)
  }

  func testCancelBeforeTheOnlySlice() throws {
    let answer = try session().ask(user("Hi"), listener: RecordingListener(cancelsAtPrefill: { _ in true }))
    XCTAssertEqual(answer.end, .stopped)
    XCTAssertEqual(engine.calls, [.reset])
  }

  func testAnotherPromptThatGoesOnDifferentlyWhereOneWasCutBeginsAnew() throws {
    for (changed, expected) in [(14, 1), (35, 0)] {
      engine.calls = []
      let session = session(manifest(prefillChunk: 8))
      var words = Array(repeating: "word", count: 40)
      try session.ask(user(words.joined(separator: " ")), listener: RecordingListener(cancelsAtPrefill: { $0 >= 16 }))
      let cut = FakeEngine.words(engine.cache).count { $0.contains("word") }
      XCTAssertTrue((10...14).contains(cut), "\(cut)")
      engine.calls = []
      words[changed] = "other"
      try session.ask(user(words.joined(separator: " ")))
      XCTAssertEqual(resets, expected, "word \(changed)")
    }
  }

  func testCancelInAnAnswerKeepsWhatCameAndTheNextTurnGoesOnFromIt() throws {
    let session = session()
    engine.script("a", " b", " c", " d", "<|im_end|>")
    let answer = try session.ask(user("Hi"), listener: RecordingListener(cancelsAtText: { $0 == "a b" }))
    XCTAssertEqual(answer.end, .stopped)
    XCTAssertEqual(answer.text, "a b")
    engine.calls = []
    try session.ask(user("Hi"), assistant("a b"), user("On"))
    assertBytes(engine.fed, " b" + next)
    XCTAssertEqual(resets, 0)
  }

  func testCancelOnTheFirstPieceWhichTheRuntimeLosesIsRepeated() throws {
    engine.script("a", " b", " c", "<|im_end|>")
    let answer = try session().ask(user("Hi"), listener: RecordingListener(cancelsAtText: { $0 == "a" }))
    XCTAssertEqual(answer.end, .stopped)
    XCTAssertEqual(answer.text, "a b")
    XCTAssertEqual(stops, 2)
  }

  func testCancelFromAnotherThread() throws {
    let session = session()
    let listener = listener
    engine.script("a", " b", " c", " d", "<|im_end|>")
    engine.pause()
    let ended = expectation(description: "the answer ended")
    Thread.detachNewThread {
      XCTAssertEqual(try? session.ask(user("Hi"), listener: listener).end, .stopped)
      ended.fulfill()
    }
    engine.step()
    while listener.shown.isEmpty { usleep(1000) }
    session.cancel()
    engine.resume()
    wait(for: [ended], timeout: 10)
    engine.calls = []
    session.cancel()
    XCTAssertEqual(engine.calls, [], "nothing runs")
    engine.script("x", "<|im_end|>")
    XCTAssertEqual(try session.ask(user("Hi")).end, .complete)
  }

  func testAnAnswerEndsWhereTheContextIsFull() throws {
    let prompt = words(try chatml.compose([user("Hi")]))
    let engine = FakeEngine(context: prompt + 2)
    engine.script("a", "b", "c", "d", "e")
    let answer = try session(manifest(context: prompt + 2), engine).ask(user("Hi"))
    XCTAssertEqual(answer.end, .contextFull)
    XCTAssertEqual(answer.text, "abc", "the last token needs no place")
    XCTAssertEqual(engine.position, prompt + 2)
  }

  func testWhereTheContextLimitsNothingTheWantedTokensDo() throws {
    let prompt = words(try chatml.compose([user("Hi")]))
    for (most, end) in [(2, AnswerEnd.maxTokens), (3, .maxTokens), (4, .contextFull)] {
      let engine = FakeEngine(context: prompt + 2)
      engine.script("a", "b", "c", "d", "e")
      let settings = GenerationSettings(maxNewTokens: most)
      let answer = try session(manifest(context: prompt + 2), engine).ask(user("Hi"), settings: settings)
      XCTAssertEqual(answer.end, end, "\(most)")
      XCTAssertEqual(answer.statistics.answerTokens, min(most, 3))
    }
  }

  func testWhereTheContextIsOneChunkTheRuntimeGivesOneTokenLess() throws {
    let prompt = words(try chatml.compose([user("Hi")]))
    engine.script("a", "b", "c", "d", "e")
    let answer = try session(manifest(context: prompt + 2, prefillChunk: prompt + 2)).ask(user("Hi"))
    XCTAssertEqual(generated.map { $0.most }, [2])
    XCTAssertEqual(answer.text, "ab")
    XCTAssertEqual(answer.end, .contextFull)
  }

  func testAnEndWithoutASpellingJustBeforeTheContextIsFull() throws {
    let prompt = words(try chatml.compose([user("Hi")]))
    engine.script("a")
    let answer = try session(manifest(context: prompt + 2)).ask(user("Hi"))
    XCTAssertEqual(answer.text, "a")
    XCTAssertEqual(answer.end, .complete)
  }

  func testAPromptThatLeavesNoRoomIsRefusedBeforeTheEngineSeesIt() throws {
    let tokens = words(try chatml.compose([user("Hi")]))
    let error = thrown(PromptError.self) { try session(manifest(context: tokens)).ask(user("Hi")) }
    XCTAssertEqual(error, PromptError(.tooLong, tokens: TokenCount(tokens, isExact: true), context: tokens))
    XCTAssertEqual(engine.calls, [])
    XCTAssertEqual(try session(manifest(context: tokens + 1)).ask(user("Hi")).text, "Yes.")
  }

  func testAConversationThatIsTooLongIsRefusedAndStays() throws {
    let session = session(manifest(context: 40))
    try session.ask(user("Hi"))
    let held = engine.cache
    XCTAssertNotNil(
      thrown(PromptError.self) { try session.ask(user("Hi"), assistant("Yes."), user(repeated("word", 30))) })
    assertBytes(engine.cache, held)
    engine.calls = []
    try session.ask(user("Hi"), assistant("Yes."), user("On"))
    XCTAssertEqual(resets, 0)
  }

  func testEstimatesLeaveTheEndOfTheContextToTheRuntime() throws {
    let estimates = CountingTokenizer(inexactBecause: "a test") { _ in TokenCount(1, isExact: false) }
    let engine = FakeEngine(context: 12)
    engine.script(Array(repeating: "w", count: 20))
    let session = session(manifest(context: 12), engine, estimates)
    let answer = try session.ask(user("Hi"))
    XCTAssertEqual(answer.end, .contextFull)
    XCTAssertTrue(answer.text.hasPrefix("www"), answer.text)
    engine.calls = []
    let error = thrown(PromptError.self) { try session.ask(user(repeated("word", 30))) }
    XCTAssertEqual(error?.problem, .tooLong)
    XCTAssertEqual(error?.tokens?.isExact, false)
    XCTAssertEqual(engine.calls.first, .reset, "begun anew, as nothing is known of the cache")
  }
}
