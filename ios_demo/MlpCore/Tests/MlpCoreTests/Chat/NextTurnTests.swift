import MlpFixtures
import XCTest

@testable import MlpCore

/// What of a conversation the KV cache holds already, and when it is fed anew.
final class NextTurnTests: ChatSessionTestCase {
  private let next = "\(stop)\n<|im_start|>user\nOn\(stop)\n<|im_start|>assistant\n"

  func testOnlyTheNewTurnIsPrefilled() throws {
    let session = session()
    engine.script("Paris", "<|im_end|>")
    try session.ask(user("Hi?"))
    engine.calls = []
    engine.script("Yes", "<|im_end|>")
    let answer = try session.ask(user("Hi?"), assistant("Paris"), user("On"))
    assertBytes(engine.fed, next)
    XCTAssertEqual(resets, 0)
    XCTAssertEqual(answer.text, "Yes")
    let whole = try chatml.compose([user("Hi?"), assistant("Paris"), user("On")]) + "Yes"
    assertBytes(engine.cache, whole, "the cache holds what the template renders")
    XCTAssertEqual(answer.statistics.promptTokens, words(engine.fed))
    XCTAssertEqual(answer.statistics.cachedTokens + answer.statistics.promptTokens, engine.position - 1)
  }

  func testAfterTheWantedTokensTheLastPieceGoesInWithTheNextTurn() throws {
    let session = session()
    engine.script("a", " b", " c")
    try session.ask(user("Hi"), settings: GenerationSettings(maxNewTokens: 2))
    engine.calls = []
    try session.ask(user("Hi"), assistant("a b"), user("On"))
    assertBytes(engine.fed, " b" + next)
    XCTAssertEqual(resets, 0)
  }

  func testAnAnswerThatIsAnotherOneMeansBeginningAnew() throws {
    let session = session()
    try session.ask(user("Hi"))
    engine.calls = []
    try session.ask(user("Hi"), assistant("No."), user("On"))
    assertBytes(engine.fed, try chatml.compose([user("Hi"), assistant("No."), user("On")]))
    XCTAssertEqual(resets, 1)
  }

  /// To Swift the two texts are equal, to a tokenizer they are not.
  func testAnAnswerInDecomposedCharactersIsAnotherOne() throws {
    let session = session()
    engine.script("\u{E9}", "<|im_end|>")
    try session.ask(user("Hi"))
    engine.calls = []
    try session.ask(user("Hi"), assistant("e\u{301}"), user("On"))
    XCTAssertEqual(resets, 1)
    assertBytes(engine.fed, try chatml.compose([user("Hi"), assistant("e\u{301}"), user("On")]))
  }

  func testAPromptThatGoesOnWithinACharacterOfSwift() throws {
    let session = session(manifest(chat: nil))
    engine.script("\r", "x")
    try session.ask(user("a"), settings: GenerationSettings(maxNewTokens: 1))
    engine.calls = []
    try session.ask(user("a\u{301}"))
    assertBytes(engine.fed, "\u{301}", "the cache holds a, and an accent comes")
    XCTAssertEqual(resets, 0)
  }

  func testRegenerateBeginsAnewAsACacheCannotGoBack() throws {
    let session = session()
    try session.ask(user("Hi"))
    engine.calls = []
    let again = try session.ask(user("Hi"))
    assertBytes(engine.fed, try chatml.compose([user("Hi")]))
    XCTAssertEqual(again.statistics.cachedTokens, 0)
    XCTAssertEqual(resets, 1)
  }

  /// What the engine is given for a second question, after an answer of `pieces`; "anew: " where the cache was emptied.
  private func secondTurn(_ manifest: Manifest, _ pieces: String...) throws -> String {
    let session = session(manifest)
    engine.script(pieces.map { .text($0) })
    let first = try session.ask(user(" Hi "))
    engine.calls = []
    try session.ask(user(" Hi "), assistant(first.text), user(" On "))
    return resets > 0 ? "anew: " + engine.fed : engine.fed
  }

  func testAnAnswerThatTheTemplateWritesOtherwiseIsFedAnewAsTheTemplateHasIt() throws {
    var chat = chatml
    (chat.trim, chat.answerTrimStart, chat.answerTrimEnd) = (true, .whitespace, .whitespace)
    let anew = "anew: " + (try chat.compose([user("Hi"), assistant("Paris"), user("On")]))
    assertBytes(try secondTurn(manifest(chat: chat), "\n", "Paris", " ", stop), anew)
    assertBytes(try secondTurn(manifest(chat: chat), "Paris", stop), next, "nothing to trim")
    (chat.answerTrimStart, chat.answerTrimEnd) = (.none, .none)
    assertBytes(try secondTurn(manifest(chat: chat), "\n", "Paris", " ", stop), next, "trims messages alone")
  }

  func testTheReasoningOfAnEarlierAnswerIsNotFedAgain() throws {
    var chat = chatml
    (chat.trim, chat.reasoningEnd, chat.reasoningTrim) = (true, "</think>", .newlines)
    let manifest = manifest(chat: chat)
    let anew = "anew: " + (try chat.compose([user("Hi"), assistant("Paris"), user("On")]))
    assertBytes(try secondTurn(manifest, "<", "think", ">", "Hm", "</", "think", ">", "\n", "\n", "Paris", stop), anew)
    assertBytes(try secondTurn(manifest, "Paris", stop), next, "no reasoning")
  }

  func testAnAnswerBehindAnotherPromptThanTheOneThatStandsBeforeEarlierAnswers() throws {
    var chat = chatml
    (chat.trim, chat.generationPrompt) = (true, "<|im_start|>assistant\n<think>\n")
    let opening = "<|im_start|>user\nHi\(stop)\n<|im_start|>assistant\n"
    assertBytes(
      try secondTurn(manifest(chat: chat), "Paris", stop), "anew: \(opening)Paris\(next)<think>\n")
    XCTAssertEqual(generated.last?.text.hasSuffix("<|im_start|>assistant\n<think>\n"), true)
  }

  func testAnAnswerOfOtherTokensThanTheTokenizersMeansBeginningAnew() throws {
    var chat = chatml
    chat.trim = true
    let anew = "anew: " + (try chat.compose([user("Hi"), assistant("Paris"), user("On")]))
    assertBytes(try secondTurn(manifest(chat: chat), "Par", "is", stop), anew)
    assertBytes(try secondTurn(manifest(chat: chat), "Paris", stop), next)
  }

  func testANewTurnThatHasOtherTokensAloneThanInItsPlaceMeansBeginningAnew() throws {
    // As SentencePiece's tokenizers do, which put a space before each text.
    let startsWithSpace = CountingTokenizer { text in
      TokenCount(FakeEngine.words(text).count + (text.hasPrefix("<|") ? 0 : 1), isExact: true)
    }
    for (suffix, expected) in [(" . \(stop)", 1), (stop, 0)] {
      var chat = chatml
      chat.assistantSuffix = suffix
      let session = session(manifest(chat: chat), nil, startsWithSpace)
      engine.script("a", "<|im_end|>")
      try session.ask(user("Hi"))
      engine.calls = []
      try session.ask(user("Hi"), assistant("a"), user("On"))
      XCTAssertEqual(resets, expected, suffix)
    }
  }

  func testWhatTheModelWroteIsNormalizedInLaterTurns() throws {
    let whole = try chatml.compose([user("Hi"), assistant("\u{E9}."), user("\u{E9}")])
    for (answer, expected) in [("e\u{301}", 1), ("\u{E9}", 0)] {
      let session = session(manifest(normalization: .nfc))
      engine.script([.text(answer), ".", "<|im_end|>"])
      try session.ask(user("Hi"))
      engine.calls = []
      try session.ask(user("Hi"), assistant(answer + "."), user("e\u{301}"))
      XCTAssertEqual(resets, expected, "\(Array(answer.utf8))")
      XCTAssertTrue(engine.cache.utf8.starts(with: whole.utf8), engine.cache)
    }
  }

  func testASpaceThatIsNotShownIsInTheCacheWhereTheTemplateHasIt() throws {
    var chat = chatml
    (chat.trim, chat.generationPrompt, chat.assistantPrefix) = (
      true, "<|im_start|>assistant", "<|im_start|>assistant "
    )
    let fed = try secondTurn(manifest(chat: chat, answerStrip: " "), " Paris", stop)
    assertBytes(fed, "\(stop)\n<|im_start|>user\nOn\(stop)\n<|im_start|>assistant")
  }

  func testAnEndWithoutASpellingLeavesAllTextInTheCache() throws {
    let session = session()
    engine.script("a", " b")
    XCTAssertEqual(try session.ask(user("Hi")).end, .complete)
    engine.calls = []
    try session.ask(user("Hi"), assistant("a b"), user("On"))
    assertBytes(engine.fed, next)
    XCTAssertEqual(resets, 0)
  }

  func testLostTextInTheCacheMeansBeginningAnew() throws {
    // Where tokens are estimated, their number does not tell what was lost.
    let estimating = CountingTokenizer { TokenCount(FakeEngine.words($0).count, isExact: false) }
    for tokenizer in [WordTokenizer(), estimating] as [Tokenizer] {
      let session = session(manifest(), nil, tokenizer)
      engine.script(["a", .bytes([0xC3]), .bytes([0xA9]), "<|im_end|>"])
      let first = try session.ask(user("Hi"))
      engine.calls = []
      try session.ask(user("Hi"), assistant(first.text), user("On"))
      XCTAssertEqual(resets, 1)
      assertBytes(engine.fed, try chatml.compose([user("Hi"), assistant("a\u{FFFD}"), user("On")]))
    }
  }

  func testALastPieceThatWasLostIsNotInTheCache() throws {
    let session = session()
    engine.script(["a", .bytes([0xC3]), .bytes([0xA9]), "<|im_end|>"])
    let first = try session.ask(user("Hi"), settings: GenerationSettings(maxNewTokens: 2))
    assertBytes(first.text, "a\u{FFFD}")
    engine.calls = []
    try session.ask(user("Hi"), assistant(first.text), user("On"))
    XCTAssertEqual(resets, 0)
    assertBytes(engine.fed, "\u{FFFD}" + next)
  }

  /// The stop on the first piece was lost, so that the cache holds what came after the stop token.
  func testWhatCameBehindAStopTokenIsNotTakenForThePrompt() throws {
    let session = session()
    engine.script("<|im_end|>", "more", "x")
    try session.ask(user("Hi"))
    engine.calls = []
    try session.ask(user("Hi"), assistant(""), user("On"))
    assertBytes(engine.fed, "\n<|im_start|>user\nOn\(stop)\n<|im_start|>assistant\n")
    XCTAssertEqual(resets, 0)
    engine.script("<|im_end|>", "more", "x")
    try session.ask(user("Hi"))
    engine.script("a", "<|im_end|>")
    try session.ask(user("Hi"), assistant("x"), user("On"))
    engine.calls = []
    try session.ask(user("Hi"), assistant("y"), user("On"))
    XCTAssertEqual(resets, 1)
  }

  // Failures

  func testAfterAFailureEverythingIsFedAnew() throws {
    let session = session()
    let failure = EngineError(EngineFailure(kind: .unknown, code: 35, detail: "no"))
    engine.failAfterPiece = { $0 == 1 ? failure : nil }
    engine.script("a", "b", "c")
    XCTAssertEqual(thrown(EngineError.self) { try session.ask(user("Hi"), listener: listener) }, failure)
    XCTAssertEqual(listener.shown, ["a", "ab"])
    engine.failAfterPiece = { _ in nil }
    engine.calls = []
    try session.ask(user("Hi"))
    XCTAssertEqual(engine.calls.first, .reset)
    assertBytes(engine.fed, try chatml.compose([user("Hi")]))
  }

  func testAPrefillThatFails() throws {
    struct Fault: Error {}
    let failure = EngineError(EngineFailure(kind: .outOfMemory, code: 33, detail: "no"))
    for error in [failure, Fault()] as [any Error] {
      let session = session(manifest(prefillChunk: 4))
      try session.ask(user("Hi"))
      engine.failOn = { if case .prefill = $0 { error } else { nil } }
      XCTAssertThrowsError(try session.ask(user("Hi"), assistant("Yes."), user("On"))) {
        XCTAssertEqual("\($0)", "\(error)")
      }
      engine.failOn = { _ in nil }
      engine.calls = []
      try session.ask(user("Hi"), assistant("Yes."), user("On"))
      XCTAssertEqual(resets, 1, "nothing is known of the cache")
    }
  }

  func testAResetThatFails() throws {
    let session = session()
    let failure = EngineError(EngineFailure(kind: .unknown, code: nil, detail: "the model is not loaded"))
    engine.failOn = { $0 == .reset ? failure : nil }
    XCTAssertEqual(thrown(EngineError.self) { try session.ask(user("Hi")) }, failure)
    engine.failOn = { _ in nil }
    XCTAssertEqual(try session.ask(user("Hi")).text, "Yes.")
  }
}
