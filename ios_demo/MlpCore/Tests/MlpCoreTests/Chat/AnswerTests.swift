import MlpFixtures
import XCTest

@testable import MlpCore

/// One answer: what is shown, what it took, and what of the runtime's habits must not show.
final class AnswerTests: ChatSessionTestCase {
  func testTheAnswerWithoutItsStopTokenAndWhatItTook() throws {
    engine.script("Par", "is", ".", "<|im_end|>")
    let answer = try session().ask(user("Hi?"), listener: listener)
    XCTAssertEqual(answer.text, "Paris.")
    XCTAssertEqual(answer.end, .complete)
    XCTAssertEqual(listener.shown, ["Par", "Paris", "Paris."])
    let prompt = "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    assertBytes(engine.fed, prompt)
    let statistics = answer.statistics
    XCTAssertEqual(statistics.promptTokens, words(prompt))
    XCTAssertEqual(statistics.cachedTokens, 0)
    XCTAssertEqual(statistics.answerTokens, 3)
    // The fake engine takes a second for a prompt, and a tenth for a token.
    XCTAssertEqual(try XCTUnwrap(statistics.prefillTokensPerSecond), Double(words(prompt)), accuracy: 1e-9)
    XCTAssertEqual(try XCTUnwrap(statistics.decodeTokensPerSecond), 10, accuracy: 1e-9)
    XCTAssertEqual(statistics.firstTextSeconds, 0.001, accuracy: 1e-9)
    XCTAssertEqual(statistics.memoryBytes, 77)
    XCTAssertEqual(statistics.lostCharacters, 0)
  }

  func testRatesThatCannotBeTold() throws {
    engine.script("<|im_end|>", "a")
    let answer = try session().ask(user("Hi"), settings: GenerationSettings(maxNewTokens: 1))
    XCTAssertEqual(answer.statistics.answerTokens, 0)
    XCTAssertNil(answer.statistics.decodeTokensPerSecond)
  }

  func testTheTimeOfThePrefillCountsItsSlices() throws {
    let answer = try session(manifest(prefillChunk: 8)).ask(user(repeated("word", 14)))
    let slices = Double(slices.count)
    XCTAssertEqual(slices, 2)
    let seconds = slices * 0.001 + 1
    let rate = try XCTUnwrap(answer.statistics.prefillTokensPerSecond)
    XCTAssertEqual(rate, Double(answer.statistics.promptTokens) / seconds, accuracy: 1e-6)
  }

  func testAStopStringInSeveralPiecesNeverShows() throws {
    engine.script("a ", "<|", "im_", "end", "|>", "b", "c")
    let answer = try session().ask(user("Hi"), listener: listener)
    XCTAssertEqual(answer.text, "a ")
    XCTAssertEqual(answer.end, .complete)
    XCTAssertEqual(listener.shown, ["a "])
    XCTAssertEqual(engine.calls.last, .stop, "the engine was stopped")
  }

  func testWhatOnlyLookedLikeAStopStringShowsInTheEnd() throws {
    engine.script("a ", "<|im", "x")
    let answer = try session().ask(user("Hi"), settings: GenerationSettings(maxNewTokens: 2), listener: listener)
    XCTAssertEqual(answer.text, "a <|im")
    XCTAssertEqual(answer.end, .maxTokens)
    XCTAssertEqual(listener.shown, ["a ", "a <|im"])
  }

  func testAStopTokenAsTheFirstPieceWhichTheRuntimeDoesNotStopAt() throws {
    engine.script("<|im_end|>", "\n", "more", "and more")
    let answer = try session().ask(user("Hi"), listener: listener)
    XCTAssertEqual(answer.text, "")
    XCTAssertEqual(answer.end, .complete)
    XCTAssertEqual(listener.shown, [])
    XCTAssertEqual(stops, 2, "the stop after the first piece was lost")
  }

  func testTheEndOfTheWantedTokens() throws {
    engine.script("a", "b", "c", "d")
    let settings = GenerationSettings(temperature: 0.5, maxNewTokens: 3)
    let answer = try session().ask(user("Hi"), settings: settings)
    XCTAssertEqual(answer.text, "abc")
    XCTAssertEqual(answer.end, .maxTokens)
    XCTAssertEqual(answer.statistics.answerTokens, 3)
    XCTAssertEqual(generated.map { $0.most }, [3])
    XCTAssertEqual(generated.map { $0.temperature }, [0.5])
  }

  func testSettingsBeyondWhatTheRuntimeTakes() throws {
    let session = session()
    for (temperature, taken) in [(1.5, 1.0), (-1, 0), (.nan, 0), (1, 1)] {
      engine.calls = []
      try session.ask(user("Hi"), settings: GenerationSettings(temperature: temperature, maxNewTokens: 0))
      XCTAssertEqual(generated.map { $0.temperature }, [taken], "\(temperature)")
      XCTAssertEqual(generated.map { $0.most }, [1])
    }
  }

  func testTokensThatAreHalfACharacterShowAsOneReplacementForEachRun() throws {
    let smile: [FakeEngine.Piece] = [.bytes([0xF0, 0x9F]), .bytes([0x99]), .bytes([0x82])]
    engine.script(["a"] + smile + ["b", .bytes([0xC3]), .bytes([0xA9]), "<|im_end|>"])
    let answer = try session().ask(user("Hi"), listener: listener)
    assertBytes(answer.text, "a\u{FFFD}b\u{FFFD}")
    XCTAssertEqual(listener.shown.last, "a\u{FFFD}b\u{FFFD}")
    XCTAssertEqual(answer.statistics.lostCharacters, 2)
    XCTAssertEqual(answer.statistics.answerTokens, 7)
    XCTAssertEqual(answer.end, .complete)
  }

  func testTextThatWasLostAtTheEnd() throws {
    engine.script(["a", .bytes([0xF0, 0x9F]), .bytes([0x99, 0x82])])
    let cut = try session().ask(user("Hi"), settings: GenerationSettings(maxNewTokens: 2))
    assertBytes(cut.text, "a\u{FFFD}")
    XCTAssertEqual(cut.end, .maxTokens)
    XCTAssertEqual(cut.statistics.lostCharacters, 1)
    // The model ended by itself, with a token that has no spelling, behind two that were lost.
    engine.script(["a", .bytes([0xF0, 0x9F]), .bytes([0x99, 0x82])])
    let ended = try session().ask(user("Hi"))
    assertBytes(ended.text, "a\u{FFFD}")
    XCTAssertEqual(ended.statistics.lostCharacters, 1)
  }

  func testAnEndTokenWithoutASpellingIsNoLostText() throws {
    engine.script("a", "b")
    let answer = try session().ask(user("Hi"))
    XCTAssertEqual(answer.text, "ab")
    XCTAssertEqual(answer.end, .complete)
    XCTAssertEqual(answer.statistics.lostCharacters, 0)
  }

  func testAnEndTokenThatTheChatFormatDoesNotName() throws {
    var chat = chatml
    chat.stop = ["never"]
    engine.script("a", "<|im_end|>")
    XCTAssertEqual(try session(manifest(chat: chat)).ask(user("Hi"), listener: listener).text, "a")
    XCTAssertEqual(listener.shown, ["a"])
  }

  func testAModelWithoutAChatFormatContinuesTheText() throws {
    engine.script(" a", " time", "<|im_end|>")
    let answer = try session(manifest(chat: nil, addBos: true)).ask(user("Once upon"), listener: listener)
    assertBytes(engine.fed, "<|im_start|>Once upon", "its start token is spelled")
    XCTAssertEqual(answer.text, " a time", "its end token is not shown")
    XCTAssertEqual(answer.end, .complete)
    XCTAssertEqual(listener.shown, [" a", " a time"])
    engine.calls = []
    try session(manifest(chat: nil)).ask(user("Once upon"))
    assertBytes(engine.fed, "Once upon")
  }

  // Refusals

  func testMessagesThatSpellASpecialToken() throws {
    let error = thrown(PromptError.self) { try session().ask(user("ignore \(stop) this")) }
    XCTAssertEqual(error, PromptError(.specialToken, detail: stop))
    let settings = GenerationSettings(systemPrompt: "<|im_start|>")
    let inSettings = thrown(PromptError.self) { try session().ask(user("Hi"), settings: settings) }
    XCTAssertEqual(inSettings, PromptError(.specialToken, detail: "<|im_start|>"))
    XCTAssertEqual(engine.calls, [])
    try session().ask(user("<|im_end"))
    try session().ask(user("Hi"), assistant(stop), user("On"))
  }

  func testNothingToAnswer() {
    for turns in [[], [user(" \n\u{3000}\u{85}")], [user("Hi"), assistant("Ho")], [system("Hi")]] {
      let error = thrown(PromptError.self) { try session().answer(turns, .init(), listener) }
      XCTAssertEqual(error, PromptError(.empty))
    }
    XCTAssertEqual(engine.calls, [])
  }

  func testSystemPrompts() throws {
    let brief = GenerationSettings(systemPrompt: "Be brief.")
    try session().ask(user("Hi"), settings: brief)
    assertBytes(engine.fed, try chatml.compose([system("Be brief."), user("Hi")]))
    engine.calls = []
    try session().ask(system("Be long."), user("Hi"), settings: brief)
    assertBytes(engine.fed, try chatml.compose([system("Be long."), user("Hi")]), "the conversation's own")
    var chat = chatml
    chat.systemPrefix = nil
    chat.systemSuffix = nil
    let without = manifest(chat: chat)
    XCTAssertEqual(
      thrown(PromptError.self) { try session(without).ask(user("Hi"), settings: brief) }, PromptError(.noSystemRole))
    engine.calls = []
    try session(without).ask(user("Hi"), settings: GenerationSettings(systemPrompt: " "))
    assertBytes(engine.fed, try chatml.compose([user("Hi")]))
    XCTAssertEqual(
      thrown(PromptError.self) { try session(manifest(chat: nil)).ask(user("Hi"), settings: brief) },
      PromptError(.noSystemRole))
  }

  func testTokensUsedByAConversation() throws {
    let turns = [user("Hi"), assistant("Yes.")]
    let expected = words(try chatml.compose(turns, generate: false))
    XCTAssertEqual(try usedTokens(manifest(), WordTokenizer(), turns), TokenCount(expected, isExact: true))
    let settings = GenerationSettings(systemPrompt: "Be kind.")
    let longer = words(try chatml.compose([system("Be kind.")] + turns, generate: false))
    XCTAssertEqual(try usedTokens(manifest(), WordTokenizer(), turns, settings), TokenCount(longer, isExact: true))
    // What is counted before an answer is what the answer's statistics say was fed.
    let asked = turns + [user("Why?")]
    let fed = try session().answer(asked, settings, listener).statistics.promptTokens
    XCTAssertEqual(try usedTokens(manifest(), WordTokenizer(), asked, settings), TokenCount(fed, isExact: true))
  }

  func testMessagesAndPromptsAreNormalizedWhereTheManifestSaysSo() throws {
    let (decomposed, composed) = ("e\u{301} \u{1100}\u{1161}", "\u{E9} \u{AC00}")
    let settings = GenerationSettings(systemPrompt: decomposed)
    try session(manifest(normalization: .nfc)).ask(user(decomposed), settings: settings)
    assertBytes(engine.fed, try chatml.compose([system(composed), user(composed)]))
    engine.calls = []
    try session(manifest(chat: nil, normalization: .nfc)).ask(user(decomposed))
    assertBytes(engine.fed, composed)
    engine.calls = []
    try session().ask(user(decomposed))
    assertBytes(engine.fed, try chatml.compose([user(decomposed)]), "only where it says so")
    let used = words(try chatml.compose([user(composed), assistant("Yes.")], generate: false))
    XCTAssertEqual(
      try usedTokens(manifest(normalization: .nfc), WordTokenizer(), [user(decomposed), assistant("Yes.")]),
      TokenCount(used, isExact: true))
  }

  func testWhatAnAnswerBeginsWithIsDroppedOnceWhereTheManifestSaysSo() throws {
    let cases: [(strip: String, pieces: [String], shown: [String])] = [
      (" ", [" Paris", stop], ["Paris"]),
      (" ", [" ", " Paris", stop], [" Paris"]),
      (" ", ["Paris", " .", stop], ["Paris", "Paris ."]),
      (" ", [" ", stop], []),
      (" ", [" \u{301}a", stop], ["\u{301}a"]),  // a space with an accent is one Character
      ("__", ["_", "_a", stop], ["a"]),
      ("__", ["_", "a", stop], ["_a"]),
      ("__", ["_", stop], ["_"]),
    ]
    for (strip, pieces, shown) in cases {
      let listener = RecordingListener()
      engine.script(pieces.map { .text($0) })
      let answer = try session(manifest(answerStrip: strip)).ask(user("Hi"), listener: listener)
      XCTAssertEqual(listener.shown.map { Array($0.utf8) }, shown.map { Array($0.utf8) }, "\(pieces)")
      assertBytes(answer.text, shown.last ?? "", "\(pieces)")
    }
  }
}

/// `word` `count` times, with spaces between.
func repeated(_ word: String, _ count: Int) -> String { Array(repeating: word, count: count).joined(separator: " ") }
