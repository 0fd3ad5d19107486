import ExecuTorchLLM
import Foundation
import MlpCore
import MlpFixtures
import XCTest

@testable import MlpDemo

/// The engine over a runner whose answers are written down.
final class EngineTests: XCTestCase {
  private var folder = URL(fileURLWithPath: "/")

  override func setUpWithError() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for name in ["model.pte", "tokenizer.json"] { try Data("{}".utf8).write(to: folder.appendingPathComponent(name)) }
  }

  override func tearDown() {
    try? FileManager.default.removeItem(at: folder)
    TextRunner.native = { _, _ in ScriptedRunner() }
  }

  private func engine(_ runner: ScriptedRunner, clock: @escaping @Sendable () -> Double = { 0 }) -> TextRunnerEngine {
    TextRunner.native = { _, _ in runner }
    return TextRunnerEngine(ModelBundle(folder: folder, manifest: MlpFixtures.manifest()), clock: clock)
  }

  func testRunnerGetsTheBundlesFiles() throws {
    var paths: [String] = []
    TextRunner.native = { model, tokenizer in
      paths = [model, tokenizer]
      return ScriptedRunner()
    }
    try TextRunnerEngine(ModelBundle(folder: folder, manifest: MlpFixtures.manifest())).load()
    XCTAssertEqual(paths, [folder.path + "/model.pte", folder.path + "/tokenizer.json"])
  }

  func testEveryOptionOfTheRunnerIsSet() throws {
    let runner = ScriptedRunner(answers: [["x"], ["a", "b"]])
    let engine = engine(runner)
    try engine.load()
    try engine.prefill("one")
    _ = try engine.generate("two", maxNewTokens: 7, temperature: 0.5) { _ in }
    let settings = runner.calls.map(\.settings)
    XCTAssertEqual(settings.map(\.isEchoEnabled), [false, false])
    XCTAssertEqual(settings.map(\.bosCount), [0, 0])
    XCTAssertEqual(settings.map(\.eosCount), [0, 0])
    XCTAssertEqual(settings.map(\.isWarming), [true, true])
    XCTAssertEqual(settings.map(\.sequenceLength), [-1, -1])
    XCTAssertEqual(settings.map(\.maximumNewTokens), [1, 7])
    XCTAssertEqual(settings.map(\.temperature), [0, 0.5])
  }

  func testPrefillAddsItsTextAloneToTheCache() throws {
    let runner = ScriptedRunner(answers: [["not fed"], ["a", "b", "c"]])
    let engine = engine(runner)
    try engine.load()
    try engine.prefill("12345")
    XCTAssertEqual(runner.position, 5)
    var pieces: [String] = []
    let stats = try engine.generate("678", maxNewTokens: 3, temperature: 0) { pieces.append($0) }
    XCTAssertEqual(pieces, ["a", "b", "c"])
    XCTAssertEqual(stats.generatedTokens, 3)
    XCTAssertEqual(runner.calls.map(\.position), [0, 5])
    XCTAssertEqual(runner.position, 5 + 3 + 2)  // the last token is not fed
  }

  func testTimesStartAtTheCallAndTheFirstPiece() throws {
    let times = Times([10, 12, 17])
    let engine = engine(ScriptedRunner(answers: [["a", "b"]]), clock: times.next)
    try engine.load()
    let stats = try engine.generate("p", maxNewTokens: 2, temperature: 0) { _ in }
    XCTAssertEqual(stats, EngineStats(generatedTokens: 2, prefillSeconds: 2, decodeSeconds: 5))
  }

  func testTemperatureIsKeptInTheRunnersRange() throws {
    let runner = ScriptedRunner(answers: [["a"], ["b"]])
    let engine = engine(runner)
    try engine.load()
    _ = try engine.generate("p", maxNewTokens: 1, temperature: 1.5) { _ in }
    _ = try engine.generate("p", maxNewTokens: 1, temperature: -0.1) { _ in }
    XCTAssertEqual(runner.calls.map(\.settings.temperature), [1, 0])
  }

  func testHalfACharacterIsAnEmptyPieceAndCounts() throws {
    let runner = ScriptedRunner()
    let emoji = Array("🙂".utf8)
    runner.answers = [[Array("a".utf8), Array(emoji[..<2]), Array(emoji[2...]), Array("b".utf8)]]
    let engine = engine(runner)
    try engine.load()
    var pieces: [String] = []
    let stats = try engine.generate("p", maxNewTokens: 9, temperature: 0) { pieces.append($0) }
    XCTAssertEqual(pieces, ["a", "", "", "b"])
    XCTAssertEqual(stats.generatedTokens, 4)
  }

  func testStopIsLostOnTheFirstPieceAndTakenOnTheSecond() throws {
    let runner = ScriptedRunner(answers: [["a", "b", "c", "d"], ["a", "b", "c", "d"]])
    let engine = engine(runner)
    try engine.load()
    var pieces: [String] = []
    _ = try engine.generate("p", maxNewTokens: 9, temperature: 0) { piece in
      pieces.append(piece)
      if pieces.count == 1 { engine.stop() }
    }
    XCTAssertEqual(pieces, ["a", "b", "c", "d"])
    pieces = []
    _ = try engine.generate("p", maxNewTokens: 9, temperature: 0) { piece in
      pieces.append(piece)
      engine.stop()
    }
    XCTAssertEqual(pieces, ["a", "b"])
  }

  func testStopBeforeLoadAndAfterCloseDoesNothing() throws {
    let runner = ScriptedRunner(answers: [["a"]])
    let engine = engine(runner)
    engine.stop()
    try engine.load()
    engine.close()
    engine.stop()
    XCTAssertEqual(runner.stops, 0)
    XCTAssertThrowsError(try engine.reset()) { error in
      XCTAssertEqual((error as? EngineError)?.failure.detail, "the model is not loaded")
    }
  }

  func testResetEmptiesTheCache() throws {
    let runner = ScriptedRunner(answers: [["a"]])
    let engine = engine(runner)
    try engine.load()
    try engine.prefill("abc")
    try engine.reset()
    XCTAssertEqual(runner.position, 0)
  }

  func testMissingFilesAreNamed() throws {
    let engine = engine(ScriptedRunner())
    for name in ["tokenizer.json", "model.pte"] {
      try FileManager.default.removeItem(at: folder.appendingPathComponent(name))
      XCTAssertThrowsError(try engine.load()) { error in
        XCTAssertEqual(
          error as? EngineError, EngineError(EngineFailure(kind: .missingFile, code: nil, detail: name)))
      }
    }
  }

  func testRunnersErrorsKeepTheirNumbers() throws {
    let cases: [(Int, EngineFailure.Kind)] = [
      (-1, .notAProgram), (18, .contextFull), (20, .missingOperator), (32, .missingBackend), (33, .outOfMemory),
      (35, .notAProgram), (99, .unknown),
    ]
    for (code, kind) in cases {
      let engine = engine(ScriptedRunner(loadError: error(code)))
      XCTAssertThrowsError(try engine.load()) { error in
        let failure = (error as? EngineError)?.failure
        XCTAssertEqual(failure?.kind, kind, "\(code)")
        XCTAssertEqual(failure?.code, code)
      }
    }
  }

  /// As ExecuTorchLLMTextRunner.mm makes it.
  private func error(_ code: Int) -> NSError {
    let told = code == -1 ? [NSLocalizedDescriptionKey: "Failed to create runner"] : [:]
    return NSError(domain: ErrorDomain, code: code, userInfo: told)
  }

  func testFullContextIsToldWithThePiecesBeforeIt() throws {
    let engine = engine(ScriptedRunner(answers: [["a", "b", "c", "d"]], context: 6))
    try engine.load()
    var pieces: [String] = []
    XCTAssertThrowsError(try engine.generate("1234", maxNewTokens: 4, temperature: 0) { pieces.append($0) }) { error in
      XCTAssertEqual((error as? EngineError)?.failure.kind, .contextFull)
    }
    XCTAssertEqual(pieces, ["a", "b", "c"])
  }
}

private final class Times: @unchecked Sendable {
  private var times: [Double]

  init(_ times: [Double]) { self.times = times }

  @Sendable func next() -> Double { times.removeFirst() }
}
