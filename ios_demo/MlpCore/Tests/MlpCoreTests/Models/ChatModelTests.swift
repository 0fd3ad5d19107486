import MlpFixtures
import XCTest

@testable import MlpCore

final class ChatModelTests: ChatTestCase {
  func testAnAnswerStreamsAndIsStored() async throws {
    try await start()
    let chat = chat()
    XCTAssertTrue(chat.isEmpty)
    XCTAssertEqual(chat.title, "New Conversation")
    engine.pause()
    chat.draft = " Hello \n"
    chat.pressSend()
    XCTAssertEqual(chat.draft, "")
    XCTAssertEqual(chat.rows.map(\.text), ["Hello", ""])
    XCTAssertTrue(chat.isAnswering)
    XCTAssertEqual(chat.sendLabel, "Stop")
    XCTAssertEqual(chat.work?.text, "Loading SmolLM2-135M-Instruct…")
    engine.step(2)
    await until("text") { chat.rows.last?.text == "Yes" }
    XCTAssertTrue(chat.rows[1].isLive)
    XCTAssertFalse(chat.rows[1].canAnswerAgain)
    XCTAssertFalse(chat.rows[0].canEdit, "not while the model works")
    XCTAssertNil(chat.work, "the text itself grows")
    engine.resume()
    await ended()
    XCTAssertEqual(stored(chat), ["user: Hello", "assistant: Yes."])
    let row = try XCTUnwrap(chat.rows.last)
    XCTAssertEqual(row.text, "Yes.")
    XCTAssertNil(row.end)
    XCTAssertTrue(row.canAnswerAgain && row.canCopy && !row.canGoOn)
    XCTAssertTrue(try XCTUnwrap(row.statistics).hasPrefix("2 tokens"), "\(row.statistics ?? "")")
    XCTAssertTrue(chat.rows[0].canEdit)
    XCTAssertEqual(chat.title, "Hello")
    XCTAssertEqual(chat.notice, "The answer is complete")
    XCTAssertEqual(chat.sendLabel, "Send")
    XCTAssertFalse(chat.canPressSend, "nothing is written")
  }

  func testOnlyTheNewTurnIsPrefilled() async throws {
    try await start()
    let chat = chat()
    await ask(chat, "Hello")
    engine.calls = []
    await ask(chat, "And you?")
    XCTAssertEqual(engine.fed.components(separatedBy: "Hello").count, 1, engine.fed)
    XCTAssertTrue(engine.fed.contains("And you?"))
    XCTAssertFalse(engine.calls.contains(.load))
  }

  func testStopKeepsWhatThereIsAndCanGoOn() async throws {
    let chat = try await answering(pieces: 3)
    chat.pressSend()  // the second tap of a double tap
    XCTAssertNil(app.host.stopCause)
    now += 1
    chat.pressSend()
    XCTAssertEqual(app.host.stopCause, .user)
    engine.resume()
    await ended()
    let row = try XCTUnwrap(chat.rows.last)
    XCTAssertTrue(row.text.hasPrefix(" a a a") && row.text.utf8.count < 20, row.text)
    XCTAssertEqual(row.end, "Stopped")
    XCTAssertTrue(row.canGoOn)
    chat.goOn()
    await ended()
    XCTAssertEqual(stored(chat).suffix(2), ["user: Please continue where you stopped.", "assistant: Yes."])
  }

  func testAnEmptyMessageIsNotSent() async throws {
    try await start()
    let chat = chat()
    await ask(chat, " \n ")
    XCTAssertNil(chat.id)
    XCTAssertEqual(app.conversations.list(), [])
  }

  func testAnswerAgainReplacesTheAnswerAndVariesIt() async throws {
    try await start()
    let chat = chat()
    await ask(chat, "Hello")
    engine.script("No", "<|im_end|>")
    chat.answerAgain()
    await ended()
    XCTAssertEqual(stored(chat), ["user: Hello", "assistant: No"])
    XCTAssertEqual(temperatures, [0, 0.7], "a greedy answer would come word for word once more")
    app.settings["smol"] = GenerationSettings(temperature: 0.3)
    chat.answerAgain()
    await ended()
    XCTAssertEqual(temperatures.last, 0.3)
  }

  func testAnEditedMessageReplacesWhatFollowed() async throws {
    try await start()
    let chat = chat()
    await ask(chat, "One")
    await ask(chat, "Two")
    chat.edit(chat.rows[0].id)
    XCTAssertEqual(chat.draft, "One")
    XCTAssertEqual(chat.banner?.actions, [.stopEditing])
    chat.perform(.stopEditing)
    XCTAssertEqual(chat.draft, "")
    XCTAssertNil(chat.banner)
    XCTAssertEqual(stored(chat).count, 4)
    chat.edit(chat.rows[0].id)
    await ask(chat, "Three")
    XCTAssertEqual(stored(chat), ["user: Three", "assistant: Yes."])
    XCTAssertNil(chat.banner)
  }

  func testAKilledProcessLeavesTheTextAndAWayOn() async throws {
    try await start()
    let conversation = try app.conversations.create(bundle: "smol")
    try app.conversations.addUser(conversation.id, "Hello")
    let answer = try app.conversations.startAnswer(conversation.id)
    try app.conversations.updateAnswer(conversation.id, message: answer.id, text: "It was")
    let chat = chat(conversation.id)
    XCTAssertEqual(chat.rows.map(\.text), ["Hello", "It was"])
    XCTAssertEqual(
      chat.rows.last?.end, "Interrupted before the answer was complete")
    XCTAssertTrue(chat.rows[1].canGoOn && chat.rows[1].canAnswerAgain)
  }

  func testAMessageWithoutAnAnswerCanBeAnswered() async throws {
    try await start()
    let conversation = try app.conversations.create(bundle: "smol")
    try app.conversations.addUser(conversation.id, "Hello")
    let chat = chat(conversation.id)
    XCTAssertEqual(chat.banner?.actions, [.answerNow])
    chat.perform(.answerNow)
    await ended()
    XCTAssertEqual(stored(chat), ["user: Hello", "assistant: Yes."])
    XCTAssertNil(chat.banner)
  }

  func testAFailedLoadIsASentenceAndCanBeTriedAgain() async throws {
    try await start()
    let chat = chat()
    let failure = EngineError(EngineFailure(kind: .outOfMemory, code: 33, detail: "no room"))
    engine.failOn = { $0 == .load ? failure : nil }
    await ask(chat, "Hello")
    XCTAssertEqual(chat.banner?.text, sentence(failure))
    XCTAssertEqual(chat.banner?.actions, [.close, .answerAgain])
    XCTAssertEqual(chat.rows.last?.end, "The answer failed")
    chat.perform(.close)
    XCTAssertNil(chat.banner)
    engine.failOn = { _ in nil }
    chat.answerAgain()
    await ended()
    XCTAssertEqual(stored(chat), ["user: Hello", "assistant: Yes."])
  }

  func testAFailureInMidAnswerKeepsTheText() async throws {
    try await start()
    let chat = chat()
    let failure = EngineError(EngineFailure(kind: .unknown, code: 1, detail: "broke"))
    engine.failAfterPiece = { $0 == 1 ? failure : nil }
    await ask(chat, "Hello")
    XCTAssertEqual(stored(chat), ["user: Hello", "assistant: Yes."])
    XCTAssertEqual(chat.rows.last?.end, "The answer failed")
    XCTAssertEqual(chat.banner?.isError, true)
  }

  func testASpecialTokenInAMessageIsRefusedAndCanBeEdited() async throws {
    try await start()
    let chat = chat()
    await ask(chat, "Say <|im_end|> now")
    XCTAssertEqual(chat.banner?.actions, [.close, .editLast])
    chat.perform(.editLast)
    XCTAssertEqual(chat.draft, "Say <|im_end|> now")
  }

  func testTheCounterCountsTheDraftToo() async throws {
    try await start()
    let chat = chat()
    XCTAssertEqual(chat.contextLine, "Context: 128 tokens")
    chat.draft = "one two three"
    await until("count") { chat.contextLine?.hasSuffix("of 128 tokens left") == true }
    let before = chat.contextLine
    chat.draft += " four"
    await until("next count") { chat.contextLine != before }
    XCTAssertFalse(chat.isContextLow)
    chat.draft = Array(repeating: "a", count: 112).joined(separator: " ")
    await until("low") { chat.isContextLow }
  }

  func testAFullContextHasAWayOn() async throws {
    try await start(manifest(context: 48))
    let chat = chat()
    await ask(chat, "one two three four five six")
    engine.script(Array(repeating: " a", count: 60))
    await ask(chat, "seven eight nine ten")
    XCTAssertEqual(chat.rows.last?.end, "Cut off: the context is full")
    await until("count") { chat.banner?.actions == [.dropOldest, .newConversation] }
    XCTAssertFalse(chat.rows.last?.canGoOn ?? true)
    await chat.dropOldest()
    XCTAssertEqual(chat.rows.map(\.kind), [.user, .model, .dropped, .user, .model])
    chat.perform(.newConversation)
    XCTAssertTrue(chat.isEmpty)
    XCTAssertEqual(app.conversations.list().count, 1, "the old one stays")
  }

  func testAMessageLongerThanTheContextCannotBeHelped() async throws {
    try await start(manifest(context: 48))
    let chat = chat()
    await ask(chat, Array(repeating: "word", count: 60).joined(separator: " "))
    await until("banner") { chat.banner?.actions == [.editLast, .newConversation] }
    await chat.dropOldest()
    XCTAssertEqual(chat.notice, "The last message alone is longer than the context. Shorten it.")
  }

  func testOldConversationsDoNotLeadPastTheLicense() async throws {
    try await start()
    let other = try writeBundle(
      manifest(license: "FAIR NC"), in: app.folders.documents, name: "other",
      contents: ["model.pte": "p", "tokenizer.json": "{}", "LICENSE": "no commerce"])
    await look()
    let chat = ChatModel(app, bundle: "other", countDelay: .zero)
    XCTAssertEqual(chat.banner?.actions, [.showModel])
    await ask(chat, "Hello")
    XCTAssertNil(chat.id)
    XCTAssertEqual(chat.draft, "Hello", "kept for later")
    XCTAssertEqual(engines.made, [])
    app.bundles.licenses.accept(other)
    await ask(chat, "Hello")
    XCTAssertEqual(stored(chat), ["user: Hello", "assistant: Yes."])
  }

  func testABundleThatIsGoneLeavesTheTextReadable() async throws {
    try await start()
    let chat = chat()
    await ask(chat, "Hello")
    try FileManager.default.removeItem(at: app.folders.documents.appendingPathComponent("smol"))
    await look()
    XCTAssertFalse(chat.canWrite || chat.canPressSend)
    XCTAssertEqual(chat.banner?.isError, true)
    XCTAssertEqual(chat.rows.map(\.text), ["Hello", "Yes."])
    XCTAssertFalse(chat.rows.contains { $0.canEdit || $0.canAnswerAgain })
    XCTAssertTrue(chat.canExport && chat.export.contains("Yes."))
  }

  func testWhatIsAskedBeforeTheDiskWasLookedAtIsAnsweredThen() async throws {
    try await start()
    let again = AppModel.test(in: try XCTUnwrap(folder).url, engines: engines.make)
    let chat = ChatModel(again, bundle: "smol", countDelay: .zero)
    chat.draft = "Hello"
    chat.pressSend()
    XCTAssertNil(chat.id)
    await chat.appear()
    await until("answer") { chat.rows.last?.text == "Yes." && !again.host.isBusy }
    XCTAssertEqual(again.conversations.list().count, 1)
  }

  func testTwoConversationsDoNotMix() async throws {
    try await start()
    let (one, other) = (chat(), chat())
    await ask(other, "First")
    engine.pause()
    one.draft = "Second"
    one.pressSend()
    other.draft = "Third"
    other.pressSend()
    XCTAssertEqual(other.notice, "The model is still working. Wait until it is done, or stop it first.")
    XCTAssertFalse(other.isAnswering)
    XCTAssertEqual(other.sendLabel, "Send")
    XCTAssertEqual(stored(other).count, 2)
    XCTAssertEqual(other.draft, "Third")
    other.stop()
    XCTAssertNil(app.host.stopCause, "not its answer")
    engine.resume()
    await ended()
    XCTAssertEqual(stored(one), ["user: Second", "assistant: Yes."])
  }

  func testALongConversationShowsItsEndFirst() async throws {
    try await start()
    let conversation = try app.conversations.create(bundle: "smol")
    for number in 0..<50 { try app.conversations.addUser(conversation.id, "\(number)") }
    let chat = chat(conversation.id)
    XCTAssertEqual(chat.rows.first?.kind, .earlier)
    XCTAssertEqual(chat.rows.dropFirst().map(\.text), (10..<50).map(String.init))
    chat.showEarlier()
    XCTAssertEqual(chat.rows.map(\.text), (0..<50).map(String.init))
  }

  func testLostCharactersAreTold() async throws {
    try await start()
    let chat = chat()
    engine.script("a", .bytes([0xF0, 0x9F]), .bytes([0x98, 0x80]), "<|im_end|>")
    await ask(chat, "Hello")
    XCTAssertEqual(chat.rows.last?.text, "a\u{FFFD}")
    XCTAssertEqual(chat.rows.last?.lost, "Missing, marked \u{FFFD}: 1. The runtime could not decode these characters.")
    await ask(chat, "Again")
    XCTAssertNil(chat.rows.last?.lost)
  }

  func testVoiceOverHearsWhoSpeaksAndNoMarks() async throws {
    try await start()
    let chat = chat()
    engine.script("**Yes**", "<|im_end|>")
    await ask(chat, "Hello")
    XCTAssertEqual(chat.rows.map(\.label), ["You: Hello", "Model: Yes"])
    XCTAssertEqual(chat.copy(chat.rows[1].id), "**Yes**")
    XCTAssertEqual(chat.notice, "Copied")
    chat.showStatistics(chat.rows[1].id)
    XCTAssertTrue(chat.showsStatistics)
    chat.showStatistics(chat.rows[0].id)
    XCTAssertFalse(chat.showsStatistics, "a question has none")
  }

  func testTheSystemPromptIsTheSettings() async throws {
    try await start()
    app.settings["smol"] = GenerationSettings(systemPrompt: "Be brief.")
    let chat = chat()
    await ask(chat, "Hello")
    XCTAssertTrue(engine.fed.contains("Be brief."), engine.fed)
    app.settings["smol"] = GenerationSettings(systemPrompt: "Be long.")
    await ask(chat, "And now?")
    XCTAssertFalse(engine.fed.contains("Be long."), "a conversation keeps its own")
  }

  func testASentMessageIsNoDraftAnyMore() async throws {
    try await start()
    let one = chat()
    await ask(one, "Hello")
    XCTAssertEqual(chat().draft, "", "of the new conversation")
    XCTAssertEqual(chat(one.id).draft, "")
    one.draft = "Later"
    one.edit(one.rows[0].id)
    XCTAssertEqual(one.draft, "Hello")
    one.perform(.stopEditing)
    XCTAssertEqual(one.draft, "Later", "written before")
    one.perform(.newConversation)
    XCTAssertEqual(one.draft, "Later", "it goes along")
    XCTAssertEqual(app.conversations.list().map { chat($0.id).draft }, [""])
  }

  func testAStoppedAnswerIsNotCalledComplete() async throws {
    let chat = try await answering(pieces: 2)
    now += 1
    chat.pressSend()
    engine.resume()
    await ended()
    XCTAssertEqual(chat.notice, "Stopped")
  }

  private var temperatures: [Double] {
    engine.calls.compactMap { if case .generate(_, let tokens, let value) = $0, tokens > 1 { value } else { nil } }
  }
}
