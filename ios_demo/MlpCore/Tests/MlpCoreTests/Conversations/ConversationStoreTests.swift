import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

final class ConversationStoreTests: XCTestCase {
  private var temporary: TemporaryFolder?
  private var root: URL { temporary?.url ?? URL(fileURLWithPath: "/nowhere") }
  private var folder: URL { root.appendingPathComponent("conversations") }
  private var store = ConversationStore(folder: URL(fileURLWithPath: "/nowhere"))
  private let time = TestClock()

  private let statistics = AnswerStatistics(
    promptTokens: 12, cachedTokens: 3, answerTokens: 5, firstTextSeconds: 0.42, prefillTokensPerSecond: 88.5,
    decodeTokensPerSecond: nil, memoryBytes: 1_000_000, lostCharacters: 2)

  override func setUpWithError() throws {
    temporary = try TemporaryFolder()
    store = opened()
  }

  /// As another process would open it.
  private func opened(_ at: URL? = nil) -> ConversationStore {
    ConversationStore(folder: at ?? folder, clock: { [time] in time.next() })
  }

  private func file(_ id: String) -> URL { folder.appendingPathComponent("\(id).jsonl") }

  private func assertFails(
    isFull: Bool = false, _ text: String = "", line: UInt = #line, _ work: () throws -> Void
  ) {
    XCTAssertThrowsError(try work(), line: line) { error in
      guard let error = error as? StorageError else { return XCTFail("\(error)", line: line) }
      XCTAssertEqual(error.isFull, isFull, line: line)
      XCTAssertTrue(text.isEmpty || error.detail.contains(text), error.detail, line: line)
    }
  }

  func testWhatWasWrittenIsThereForTheNextProcess() throws {
    let id = try store.create(bundle: "demo", systemPrompt: "Be brief.").id
    try store.addUser(id, "  What is the capital\nof France? 🙂")
    let answer = try store.startAnswer(id)
    try store.updateAnswer(id, message: answer.id, text: "Par")
    try store.updateAnswer(id, message: answer.id, text: "Paris")
    try store.endAnswer(id, message: answer.id, answer: Answer(text: "Paris.", end: .complete, statistics: statistics))
    let read = try XCTUnwrap(opened().read(id))
    XCTAssertEqual(read.title, "What is the capital")
    XCTAssertEqual(read.bundle, "demo")
    XCTAssertEqual(read.systemPrompt, "Be brief.")
    XCTAssertEqual(read.messages.map(\.text), ["  What is the capital\nof France? 🙂", "Paris."])
    XCTAssertEqual(read.messages.map(\.role), [.user, .assistant])
    XCTAssertEqual(read.messages.map(\.end), [nil, .complete])
    XCTAssertEqual(read.messages.map(\.statistics), [nil, statistics])
    XCTAssertEqual(store.read(id), read)
    XCTAssertEqual(read.created, Date(timeIntervalSince1970: 1_700_000_000.001))
    XCTAssertGreaterThan(read.changed, read.messages[1].time)
  }

  func testWhatIsKnownIsWhatIsReadAgain() throws {
    let id = try store.create(bundle: "demo").id
    let answer = try store.startAnswer(id)
    var odd = statistics
    odd.firstTextSeconds = 0.123456
    odd.prefillTokensPerSecond = .infinity
    try store.endAnswer(id, message: answer.id, answer: Answer(text: "", end: .stopped, statistics: odd))
    XCTAssertEqual(store.read(id), opened().read(id))
    XCTAssertEqual(store.read(id)?.messages.last?.statistics?.firstTextSeconds, 0.123)
    XCTAssertNil(store.read(id)?.messages.last?.statistics?.prefillTokensPerSecond)
  }

  func testAnAnswerThatAProcessDidNotEndStaysAsFarAsItCame() throws {
    let id = try store.create(bundle: "demo").id
    try store.addUser(id, "Hi")
    let answer = try store.startAnswer(id)
    try store.updateAnswer(id, message: answer.id, text: "Hel")
    let message = opened().read(id)?.messages.last
    XCTAssertEqual(message?.text, "Hel")
    XCTAssertEqual(message?.end, .interrupted)
  }

  func testAKillAtAnyByteKeepsAllThatWasWholeBeforeIt() throws {
    let id = try store.create(bundle: "demo").id
    let texts = ["Grüße 🙂", "second\nline"]
    var lengths: [Int] = []
    for text in texts {
      try store.addUser(id, text)
      lengths.append(try Data(contentsOf: file(id)).count)
    }
    let whole = try Data(contentsOf: file(id))
    for length in 0...whole.count {
      let cut = root.appendingPathComponent("cut")
      try FileManager.default.createDirectory(at: cut, withIntermediateDirectories: true)
      try whole.prefix(length).write(to: cut.appendingPathComponent("\(id).jsonl"))
      let read = opened(cut).read(id)
      let expected = zip(texts, lengths).filter { $0.1 <= length }.map(\.0)
      XCTAssertEqual(read?.messages.map(\.text) ?? [], expected, "\(length) bytes")
      if read == nil { continue }
      try opened(cut).addUser(id, "after")
      XCTAssertEqual(opened(cut).read(id)?.messages.map(\.text), expected + ["after"], "\(length) bytes")
    }
  }

  func testAPartOfALineThatIsLongerThanABlockIsCutOff() throws {
    let id = try store.create(bundle: "demo").id
    try store.addUser(id, "one")
    let output = try FileHandle(forUpdating: file(id))
    try output.seekToEnd()
    try output.write(contentsOf: Data(repeating: UInt8(ascii: "x"), count: 10_000))
    try output.close()
    try opened().addUser(id, "two")
    XCTAssertEqual(opened().read(id)?.messages.map(\.text), ["one", "two"])
    XCTAssertFalse(try String(contentsOf: file(id), encoding: .utf8).contains("xx"))
  }

  func testADamagedLineInTheMiddleCostsNoOther() throws {
    let id = try store.create(bundle: "demo").id
    for text in ["one", "two", "three"] { try store.addUser(id, text) }
    var bytes = try Data(contentsOf: file(id))
    let two = try XCTUnwrap(bytes.range(of: Data("\"two\"".utf8)))
    for damage in ["\"two:", "\"t\u{1}o\""].map({ Data($0.utf8) }) + [Data([0x22, 0xFF, 0xC0, 0x80, 0x22])] {
      bytes.replaceSubrange(two, with: damage)
      try bytes.write(to: file(id))
      XCTAssertEqual(opened().read(id)?.messages.map(\.text), ["one", "three"])
    }
  }

  /// What the Android app wrote, and a line of a version that is not there yet.
  func testLinesOfAndroid() throws {
    let lines = #"""
      {"time":1700000000000,"change":"start","id":"1-a","title":"","bundle":"demo","system_prompt":null}
      {"time":1700000000001,"change":"rename","title":"Hi"}
      {"time":1700000000002,"change":"add","message":"2-b","role":"USER","text":"Hi\u003d","end":null,"statistics":null}
      {"time":1700000000003,"change":"glow","message":"2-b"}
      {"time":1700000000004,"change":"add","message":"3-c","role":"ASSISTANT","text":"","end":"INTERRUPTED","statistics":null}
      {"time":1700000000005,"change":"more","message":"3-c","text":"Ho"}
      {"time":1700000000006,"change":"end","message":"3-c","end":"MAX_TOKENS","statistics":{"prompt_tokens":12,"cached_tokens":3,"answer_tokens":5,"first_token_ms":420,"prefill_tok_s":88.5,"decode_tok_s":null,"memory_bytes":1000000}}
      {"time":1700000000007,"change":"add","message":"4-d","role":"user","text":"no such role","end":null,"statistics":null}

      """#
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try Data(lines.utf8).write(to: file("1-a"))
    let read = try XCTUnwrap(store.read("1-a"))
    XCTAssertEqual(read.title, "Hi")
    XCTAssertNil(read.systemPrompt)
    XCTAssertEqual(read.messages.map(\.text), ["Hi=", "Ho"])
    XCTAssertEqual(read.messages.last?.end, .maxTokens)
    var expected = statistics
    expected.lostCharacters = 0
    XCTAssertEqual(read.messages.last?.statistics, expected)
    XCTAssertEqual(read.changed, Date(timeIntervalSince1970: 1_700_000_000.006))
  }

  /// Android's reader wants each key, null included.
  func testLinesForAndroid() throws {
    let id = try store.create(bundle: "a/b").id
    let user = try store.addUser(id, "Hi\u{2028}\r\n\"")
    let answer = try store.startAnswer(id, replaces: user.id)
    try store.endAnswer(id, message: answer.id, answer: Answer(text: "x", end: .stopped, statistics: statistics))
    try store.endAnswer(id, message: answer.id, end: .failed)
    let lines = try String(contentsOf: file(id), encoding: .utf8).components(separatedBy: "\n")
    let t = 1_700_000_000_000
    let figures =
      #"{"prompt_tokens":12,"cached_tokens":3,"answer_tokens":5,"first_token_ms":420,"prefill_tok_s":88.5,"#
      + #""decode_tok_s":null,"memory_bytes":1000000,"lost_characters":2}"#
    XCTAssertEqual(
      lines,
      [
        #"{"time":\#(t + 1),"change":"start","id":"\#(id)","title":"","bundle":"a/b","system_prompt":null}"#,
        #"{"time":\#(t + 2),"change":"rename","title":"Hi"}"#,
        #"{"time":\#(t + 4),"change":"add","message":"\#(user.id)","role":"USER","text":"Hi\#u{2028}\r\n\"","#
          + #""end":null,"statistics":null}"#,
        #"{"time":\#(t + 6),"change":"add","message":"\#(answer.id)","role":"ASSISTANT","text":"","#
          + #""end":"INTERRUPTED","statistics":null,"replaces":"\#(user.id)"}"#,
        #"{"time":\#(t + 7),"change":"more","message":"\#(answer.id)","text":"x"}"#,
        #"{"time":\#(t + 7),"change":"end","message":"\#(answer.id)","end":"STOPPED","statistics":\#(figures)}"#,
        #"{"time":\#(t + 8),"change":"end","message":"\#(answer.id)","end":"FAILED","statistics":null}"#,
        "",
      ])
  }

  func testEditDropsWhatFollowed() throws {
    let id = try store.create(bundle: "demo").id
    let first = try store.addUser(id, "one")
    try store.startAnswer(id)
    try store.addUser(id, "two")
    try store.addUser(id, "uno", replaces: first.id)
    XCTAssertEqual(opened().read(id)?.messages.map(\.text), ["uno"])
    XCTAssertEqual(store.read(id)?.title, "one", "the title stays")
    assertFails("no message") { try store.addUser(id, "eins", replaces: first.id) }
    assertFails("no message") { try store.startAnswer(id, replaces: first.id) }
    XCTAssertEqual(opened().read(id)?.messages.map(\.text), ["uno"])
  }

  func testAnAnswerIsReplaced() throws {
    let id = try store.create(bundle: "demo").id
    try store.addUser(id, "one")
    let answer = try store.startAnswer(id)
    try store.updateAnswer(id, message: answer.id, text: "1")
    let again = try store.startAnswer(id, replaces: answer.id)
    XCTAssertEqual(opened().read(id)?.messages.map(\.text), ["one", ""])
    try store.updateAnswer(id, message: answer.id, text: "12")  // of an answer that is gone: nothing
    try store.updateAnswer(id, message: again.id, text: "2")
    XCTAssertEqual(opened().read(id)?.messages.map(\.text), ["one", "2"])
  }

  /// What another process reads of `id` for each length at which its file may have been cut, without repetitions.
  private func cuts(_ id: String, from: Int = 0) throws -> [[String]?] {
    let whole = try Data(contentsOf: file(id))
    let cut = root.appendingPathComponent("cut")
    try FileManager.default.createDirectory(at: cut, withIntermediateDirectories: true)
    var all: [[String]?] = []
    for length in from...whole.count {
      try whole.prefix(length).write(to: cut.appendingPathComponent("\(id).jsonl"))
      let texts = opened(cut).read(id)?.messages.map(\.text)
      if all.isEmpty || all.last != texts { all.append(texts) }
    }
    return all
  }

  func testAKillAtAnyByteOfAnEditLosesNeitherText() throws {
    let id = try store.create(bundle: "demo").id
    let first = try store.addUser(id, "one")
    try store.addUser(id, "two")
    let before = try Data(contentsOf: file(id)).count
    try store.atOnce {
      try store.addUser(id, "uno", replaces: first.id)
      try store.startAnswer(id)
    }
    XCTAssertEqual(try cuts(id, from: before), [["one", "two"], ["uno"], ["uno", ""]])
  }

  func testWhatIsWrittenAtOnceIsOneAppend() throws {
    let id = try store.atOnce {
      let id = try store.create(bundle: "demo").id
      try store.addUser(id, "Hi")
      try store.startAnswer(id)
      XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder.path), [], "nothing is written yet")
      XCTAssertEqual(store.read(id)?.messages.map(\.text), ["Hi", ""], "but read")
      return id
    }
    XCTAssertEqual(store.read(id), opened().read(id))
    XCTAssertEqual(opened().read(id)?.title, "Hi")
    XCTAssertEqual(try cuts(id), [nil, [], ["Hi"], ["Hi", ""]])
  }

  func testOfWhatFailsAtOnceNothingIsKept() throws {
    let old = try store.create(bundle: "demo").id
    try store.addUser(old, "one")
    let bytes = try Data(contentsOf: file(old))
    assertFails("no message gone") {
      try store.atOnce {
        try store.addUser(old, "two")
        try store.addUser(old, "three", replaces: "gone")
      }
    }
    XCTAssertEqual(store.read(old)?.messages.map(\.text), ["one"])
    XCTAssertEqual(try Data(contentsOf: file(old)), bytes)
    assertFails("several conversations") {
      try store.atOnce {
        try store.addUser(old, "two")
        _ = try store.create(bundle: "demo")
      }
    }
    assertFails("within") { try store.atOnce { try store.atOnce {} } }
    XCTAssertEqual(store.list().map(\.id), [old])
    try store.addUser(old, "later")  // and it goes on
    XCTAssertEqual(opened().read(old)?.messages.map(\.text), ["one", "later"])
  }

  func testADiskThatIsFullWithinAnAppendKeepsNothingOfIt() throws {
    let id = try store.create(bundle: "demo").id
    try store.addUser(id, "one")
    let before = try Data(contentsOf: file(id))
    let changes = ["new", "newer"].map { ConversationChange(1, .rename(title: $0)) }
    let firstLine = { (output: FileHandle, bytes: Data) in
      try output.write(contentsOf: bytes.prefix(through: try XCTUnwrap(bytes.firstIndex(of: UInt8(ascii: "\n")))))
      throw CocoaError(.fileWriteOutOfSpace)
    }
    assertFails(isFull: true) { try ConversationLog(file: file(id), write: firstLine).append(changes) }
    XCTAssertEqual(try Data(contentsOf: file(id)), before)
    assertFails(isFull: true) { try ConversationLog(file: file("new"), write: firstLine).append(changes) }
    XCTAssertFalse(FileManager.default.fileExists(atPath: file("new").path))
    let other = ConversationLog(file: file(id)) { _, _ in throw POSIXError(.EIO) }
    assertFails { try other.append(changes) }
    try ConversationLog(file: file(id)).append(changes)
    XCTAssertEqual(opened().read(id)?.title, "newer")
  }

  func testErrorsOfAFullDisk() {
    for full in [POSIXError(.ENOSPC), POSIXError(.EDQUOT), CocoaError(.fileWriteOutOfSpace)] as [any Error] {
      XCTAssertTrue(StorageError(full).isFull, "\(full)")
      let outer = NSError(domain: NSCocoaErrorDomain, code: 512, userInfo: [NSUnderlyingErrorKey: full as NSError])
      XCTAssertTrue(StorageError(outer).isFull, "around \(full)")
    }
    for other in [POSIXError(.EACCES), CocoaError(.fileNoSuchFile), NSError(domain: "x", code: 28)] as [any Error] {
      XCTAssertFalse(StorageError(other).isFull, "\(other)")
    }
    XCTAssertEqual(StorageError(StorageError(isFull: true, detail: "d")), StorageError(isFull: true, detail: "d"))
  }

  func testListSearchRenameAndDelete() throws {
    let old = try store.create(bundle: "demo").id
    try store.addUser(old, "The RIVER Thames")
    let new = try store.create(bundle: "demo").id
    try store.addUser(new, "mountains")
    XCTAssertEqual(store.list().map(\.id), [new, old])
    XCTAssertEqual(store.search(" river ").map(\.id), [old])
    XCTAssertEqual(store.search("lake").map(\.id), [])
    XCTAssertEqual(store.search(" ").map(\.id), [new, old])
    XCTAssertEqual(try store.rename(old, title: " Wet things\n").title, "Wet things")
    XCTAssertEqual(opened().list().map(\.id), [old, new])
    XCTAssertEqual(opened().search("WET").map(\.id), [old])
    try store.delete(old)
    XCTAssertEqual(opened().list().map(\.id), [new])
    XCTAssertNil(store.read(old))
    assertFails("no conversation") { try store.addUser(old, "too late") }
    try store.delete(old)
  }

  func testWhatIsNoConversationIsNotListed() throws {
    let id = try store.create(bundle: "demo").id
    try Data("{}\n".utf8).write(to: file("broken"))
    try Data().write(to: file("empty"))
    try Data(contentsOf: file(id)).write(to: folder.appendingPathComponent("notes.txt"))
    try Data(contentsOf: file(id)).write(to: file("UPPER"))
    XCTAssertEqual(opened().list().map(\.id), [id])
  }

  func testIdsCannotNameFilesElsewhere() throws {
    let id = try store.create(bundle: "demo").id
    let other = root.appendingPathComponent("secret.jsonl")
    try FileManager.default.copyItem(at: file(id), to: other)
    XCTAssertNil(store.read("../secret"))
    try store.delete("../secret")
    XCTAssertTrue(FileManager.default.fileExists(atPath: other.path))
    XCTAssertNil(store.read(""))
    XCTAssertNil(store.read(String(repeating: "a", count: 65)))
  }

  func testAFolderThatCannotBeMade() throws {
    let file = root.appendingPathComponent("file")
    try Data().write(to: file)
    assertFails { _ = try opened(file.appendingPathComponent("folder")).create(bundle: "demo") }
    XCTAssertEqual(opened(file.appendingPathComponent("folder")).list(), [])
  }

  func testAnAnswerOnlyGrows() throws {
    let id = try store.create(bundle: "demo").id
    let answer = try store.startAnswer(id)
    try store.updateAnswer(id, message: answer.id, text: "e")
    let length = try Data(contentsOf: file(id)).count
    try store.updateAnswer(id, message: answer.id, text: "e")
    XCTAssertEqual(try Data(contentsOf: file(id)).count, length)
    assertFails("only grows") { try store.updateAnswer(id, message: answer.id, text: "b") }
    try store.updateAnswer(id, message: answer.id, text: "e\u{301}")  // one character, by which the text grew
    XCTAssertEqual(opened().read(id)?.messages.last.map { Array($0.text.utf8) }, Array("e\u{301}".utf8))
    assertFails("only grows") { try store.updateAnswer(id, message: answer.id, text: "\u{E9}") }
  }

  func testTitlesAreOneLineAndCutAtAWord() {
    XCTAssertEqual(ConversationStore.title(of: " \n "), "")
    XCTAssertEqual(ConversationStore.title(of: "\n a b \r\nc"), "a b")
    XCTAssertEqual(ConversationStore.title(of: "\r\na\rb"), "a")
    let long = ConversationStore.title(of: String(repeating: "word ", count: 30))
    XCTAssertEqual(long, Array(repeating: "word", count: 11).joined(separator: " ") + "…")
    XCTAssertEqual(ConversationStore.title(of: String(repeating: "x", count: 60)).count, 60)
    XCTAssertEqual(
      ConversationStore.title(of: String(repeating: "x", count: 61)), String(repeating: "x", count: 59) + "…")
    let family = "👩‍👩‍👧"
    let title = ConversationStore.title(of: "x " + String(repeating: family, count: 70))
    let cut = "x " + String(repeating: family, count: 57) + "…"
    XCTAssertEqual(title, cut, "a space near the start is no place to cut")
  }

  func testExportedAsText() throws {
    let id = try store.create(bundle: "demo", systemPrompt: "Be kind.").id
    try store.addUser(id, "Hi")
    let answer = try store.startAnswer(id)
    let whole = Answer(text: "Hello!\n", end: .complete, statistics: statistics)
    try store.endAnswer(id, message: answer.id, answer: whole)
    let text = ConversationStore.export(try XCTUnwrap(store.read(id))) { $0.rawValue }
    XCTAssertEqual(text, "Hi\n\nsystem:\nBe kind.\n\nuser:\nHi\n\nassistant:\nHello!\n")
  }

  func testThreadsDoNotLoseEachOthersMessages() throws {
    let store = self.store
    let id = try store.create(bundle: "demo").id
    DispatchQueue.concurrentPerform(iterations: 20) { index in
      _ = try? store.addUser(id, "\(index)")
    }
    let texts = try XCTUnwrap(opened().read(id)).messages.map(\.text)
    XCTAssertEqual(texts.sorted(), (0..<20).map { "\($0)" }.sorted())
    XCTAssertEqual(store.read(id), opened().read(id))
  }
}

/// A millisecond later at each look.
private final class TestClock: @unchecked Sendable {
  private let lock = NSLock()
  private var milliseconds = 1_700_000_000_000.0

  func next() -> Date {
    lock.withLock {
      milliseconds += 1
      return Date(timeIntervalSince1970: (milliseconds - 1) / 1000)
    }
  }
}
