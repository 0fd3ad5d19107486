import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

final class BenchRunnerTests: XCTestCase {
  private let host = BenchHost(
    appId: "org.mlpexport.demo", appVersion: "1.0", runtimes: ["executorch": "1.5.1"], model: "iPhone17,1",
    abi: "arm64", ios: "18.5", isSimulator: false, cores: 6, totalMemoryBytes: 8_000_000_000)
  private let engine = FakeEngine(context: 1000)
  private let sensors = TestSensors()
  private var plan = BenchPlan(
    id: "id-1", bundle: "demo", promptTokens: [50, 998, 20], newTokens: 3, repetitions: 2, sustainedSeconds: 0)
  private var prefillChunk: Int?
  private var cancelled: () -> Bool = { false }
  private var published: [BenchResult] = []

  private var bundle: ModelBundle {
    var manifest = manifest(context: 1000, prefillChunk: prefillChunk)
    manifest.files = ["model.pte": .init(bytes: 9, sha256: String(repeating: "0", count: 64))]
    return ModelBundle(folder: URL(fileURLWithPath: "/bundles/demo"), manifest: manifest)
  }

  override func setUp() { engine.otherwise = Array(repeating: "w", count: 4) }

  @discardableResult
  private func bench(
    _ tokenizer: any Tokenizer = WordTokenizer(), _ change: (inout BenchPlan) -> Void = { _ in }
  ) -> BenchResult {
    change(&plan)
    return BenchRunner(
      plan: plan, bundle: bundle, engine: engine, tokenizer: tokenizer, host: host, sensors: sensors.sensors,
      publish: { self.published.append($0) }, cancelled: cancelled
    ).run()
  }

  private var prefills: Int { engine.calls.count { if case .prefill = $0 { true } else { false } } }

  private var generated: [Int] {
    engine.calls.compactMap { if case .generate(_, let maxNewTokens, _) = $0 { maxNewTokens } else { nil } }
  }

  func testLengthsThatFitAreRunAsOftenAsWanted() throws {
    let result = bench()
    XCTAssertEqual(result.status, .done)
    XCTAssertEqual(result.skipped, [998])
    XCTAssertEqual(result.runs.map(\.wantedTokens), [50, 50, 20, 20])
    XCTAssertEqual(result.runs.map(\.repetition), [1, 2, 1, 2])
    XCTAssertEqual(result.runs.map(\.promptTokens), [50, 50, 20, 20])
    XCTAssertEqual(result.runs[0].decodeTokens, 3)
    XCTAssertEqual(result.runs[0].decodeSeconds, 0.3, accuracy: 1e-9)
    XCTAssertEqual(result.runs[0].thermal, "light")
    XCTAssertEqual(result.loadSeconds, 1)
    XCTAssertEqual(result.threads, 4)
    XCTAssertEqual(result.residentBytes, 123)
    XCTAssertEqual(result.total, 5)
    XCTAssertEqual(published.map(\.done), [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    XCTAssertEqual(published.last, result)
    XCTAssertEqual(engine.calls.count { $0 == .reset }, 4)
    XCTAssertEqual(generated, [4, 4, 4, 4])
    XCTAssertEqual(engine.position, 23, "20 tokens of the last prompt, and all of the answer but the last")
  }

  func testCountsAsLargeAsTheyCanBeFitNoContext() {
    let most = bench { $0.newTokens = Int(Int32.max) }
    XCTAssertEqual(most.skipped, [50, 998, 20])
    XCTAssertEqual(most.runs, [])
    XCTAssertEqual(most.status, .done)
    XCTAssertEqual(most.total, 1)
    let long = bench {
      $0.newTokens = 3
      $0.promptTokens = [20, Int(Int32.max)]
    }
    XCTAssertEqual(long.skipped, [Int(Int32.max)])
    XCTAssertEqual(long.runs.count, 2)
  }

  func testThePromptThatJustFits() {
    let result = bench {
      $0.promptTokens = [997, 998]
      $0.repetitions = 1
    }
    XCTAssertEqual(result.status, .done)
    XCTAssertEqual(result.runs.map(\.promptTokens), [997])
    XCTAssertEqual(engine.position, 1000, "the whole context")
  }

  /// Else the runtime would end the answer a token early, unsaid.
  func testThePromptThatJustFitsWhereTheContextIsOneChunk() {
    prefillChunk = 1000
    let result = bench {
      $0.promptTokens = [996, 997]
      $0.repetitions = 1
    }
    XCTAssertEqual(result.skipped, [997])
    XCTAssertEqual(result.runs.map(\.promptTokens), [996])
    XCTAssertEqual(result.runs.map(\.decodeTokens), [3])
  }

  func testALongPromptGoesInSlicesAllOfWhichAreTimed() throws {
    let result = bench {
      $0.promptTokens = [300]
      $0.repetitions = 1
    }
    XCTAssertEqual(result.runs.map(\.promptTokens), [300])
    XCTAssertEqual(prefills, 2, "16 tokens a call, 8 calls a slice")
    let seconds = try XCTUnwrap(result.runs.first).prefillSeconds
    XCTAssertEqual(seconds, 2, accuracy: 1e-9, "the clock's, and the last slice's")
  }

  func testEstimatedCountsAreNoMeasurement() {
    let result = bench(EstimatesOnly())
    XCTAssertEqual(result.status, .failed)
    XCTAssertEqual(result.failure, BenchFailure(kind: "INEXACT_TOKENS", message: "a test"))
    XCTAssertEqual(engine.calls, [], "before minutes are spent")
  }

  func testSustainedForTheTimeThatIsWanted() throws {
    let result = bench {
      $0.repetitions = 1
      $0.sustainedSeconds = 70
    }
    let sustained = try XCTUnwrap(result.sustained)
    XCTAssertEqual(sustained.promptTokens, 20, "the shortest prompt")
    XCTAssertGreaterThanOrEqual(sustained.seconds, 70)
    let times = sustained.samples.map(\.atSeconds)
    XCTAssertEqual(times, times.sorted())
    XCTAssertEqual(times.count { $0 >= 70 }, 1)
    XCTAssertEqual(try XCTUnwrap(sustained.samples[0].decodeTokensPerSecond), 10, accuracy: 1e-9)
    XCTAssertEqual(try XCTUnwrap(sustained.samples[0].prefillTokensPerSecond), 10, accuracy: 1e-9)
    XCTAssertEqual(result.total, 5, "load, two lengths, two minutes begun")
    XCTAssertEqual(result.done, result.total)
    XCTAssertTrue(published.contains { $0.stage == "sustained, minute 2 of 2" })
    XCTAssertEqual(published.map(\.done), published.map(\.done).sorted())
  }

  func testAMinuteThatIsBegunIsAStep() {
    XCTAssertEqual(bench { $0.sustainedSeconds = 60 }.total, 6)
    XCTAssertEqual(bench { $0.sustainedSeconds = 61 }.total, 7)
  }

  func testNothingFits() {
    let result = bench {
      $0.promptTokens = [5000]
      $0.sustainedSeconds = 60
    }
    XCTAssertEqual(result.status, .done)
    XCTAssertEqual(result.skipped, [5000])
    XCTAssertNil(result.sustained)
  }

  func testCancelledInAPrompt() {
    cancelled = { self.prefills > 0 }
    let result = bench { $0.promptTokens = [300] }
    XCTAssertEqual(result.status, .cancelled)
    XCTAssertEqual(prefills, 1)
    XCTAssertEqual(generated, [])
    XCTAssertEqual(published.last, result)
  }

  func testCancelledInAnAnswer() {
    cancelled = { !self.generated.isEmpty }
    let result = bench()
    XCTAssertEqual(result.status, .cancelled)
    XCTAssertEqual(result.runs, [])
    XCTAssertEqual(engine.position, 51, "the first piece loses a stop, the second ends it")
    XCTAssertTrue(engine.calls.contains(.stop))
  }

  func testFailuresKeepWhatWasMeasured() {
    let runs = Counter()
    engine.failOn = { call in
      guard call == .reset, runs.next() == 3 else { return nil }
      return EngineError(EngineFailure(kind: .outOfMemory, code: 33, detail: "no"))
    }
    let result = bench()
    XCTAssertEqual(result.status, .failed)
    XCTAssertEqual(result.failure, BenchFailure(kind: "OUT_OF_MEMORY", code: 33, message: "no"))
    XCTAssertEqual(result.runs.count, 2)
    XCTAssertEqual(published.last, result)
  }

  func testAnAnswerThatEndsEarlyCountsTheStepsThatWereTimed() {
    engine.otherwise = ["w", "w", "<|im_end|>"]
    XCTAssertEqual(bench { $0.newTokens = 10 }.runs.map(\.decodeTokens), [2, 2, 2, 2])
  }

  func testThreadsThatCannotBeTold() {
    sensors.tellsThreads = false
    XCTAssertNil(bench().threads)
  }

  func testResultsHaveTheShapeOfTheVectors() throws {
    engine.otherwise = ["w"]  // at most one decode step: rates that cannot be told
    let done = bench {
      $0.repetitions = 1
      $0.sustainedSeconds = 5
    }
    let running = published[0]
    var failed = running
    failed.status = .failed
    failed.failure = BenchFailure(kind: "UNKNOWN", code: 2, message: "no")
    var badPlan = BenchResult(id: "id", status: .failed, host: host)
    badPlan.failure = BenchFailure(kind: BenchFailure.badPlan, message: "no")
    let mine = ["done": done, "running": running, "failed": failed, "bad plan": badPlan]
    let cases = try vectors("bench.json").list("ios_results")
    XCTAssertEqual(Set(try cases.map { try $0.string("name") }), Set(mine.keys))
    for values in cases {
      let name = try values.string("name")
      let result = try XCTUnwrap(mine[name]).json
      let expected = try XCTUnwrap(values.json["result"])
      XCTAssertEqual(result["status"], expected["status"], name)
      XCTAssertEqual(differences(name, expected, result), [])
    }
    let decode = try XCTUnwrap(done.json["sustained"]?["samples"]?.asArray?.first)["decode_tok_s"]
    XCTAssertEqual(decode, .double(10))
  }

  func testAShapeThatDiffersIsSeen() {
    XCTAssertEqual(differences("x", ["a": ["b": 1]], ["a": ["b": 2.5]]), [])
    XCTAssertEqual(differences("x", ["a": [["b": 1]]], ["a": [["c": 1]]]), ["x.a[]"])
    XCTAssertEqual(differences("x", ["a": 1, "b": true], ["a": "1", "b": 1]), ["x.a", "x.b"])
  }

  func testAResultIsWrittenWhole() throws {
    let temporary = try TemporaryFolder()
    let folder = temporary.url.appendingPathComponent("bench")
    let result = bench { $0.repetitions = 1 }
    try published[0].write(to: folder)
    try result.write(to: folder)
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder.path), ["id-1.json"])
    let text = try String(contentsOf: folder.appendingPathComponent("id-1.json"), encoding: .utf8)
    XCTAssertEqual(text, result.json.encoded() + "\n")
    XCTAssertEqual(try Json.parse(text)["status"], "done")
    let file = temporary.url.appendingPathComponent("file")
    try Data().write(to: file)
    XCTAssertThrowsError(try result.write(to: file.appendingPathComponent("bench"))) { error in
      XCTAssertEqual((error as? StorageError)?.isFull, false)
    }
  }

  func testTheHostIsThisDevice() {
    let device = FakeDeviceProbe().device()
    let simulated = BenchHost(device, environment: ["SIMULATOR_MODEL_IDENTIFIER": "iPhone17,1"])
    XCTAssertEqual(simulated.model, "iPhone17,1")
    let host = BenchHost(device, environment: [:])
    XCTAssertFalse(host.model.isEmpty)
    XCTAssertEqual(host.ios, "18.5")
    XCTAssertEqual(host.totalMemoryBytes, 8 << 30)
    XCTAssertGreaterThan(host.cores, 0)
  }
}

/// Where `found` has other keys than `expected`, or values of other kinds; null goes with anything.
private func differences(_ path: String, _ expected: Json, _ found: Json) -> [String] {
  switch (expected, found) {
  case (.null, _), (_, .null), (.bool, .bool), (.string, .string): return []
  case (.object, .object) where path.hasSuffix(".runtimes"): return []
  case (.object(let one), .object(let other)):
    guard Set(one.keys) == Set(other.keys) else { return [path] }
    return one.keys.flatMap { differences("\(path).\($0)", one[$0] ?? .null, other[$0] ?? .null) }
  case (.array(let one), .array(let other)):
    guard let first = one.first, let mine = other.first else { return [] }
    return differences("\(path)[]", first, mine)
  default: return expected.asDouble != nil && found.asDouble != nil ? [] : [path]
  }
}

/// Every look at the clock takes a second; every run starts three threads.
private final class TestSensors: @unchecked Sendable {
  private let seconds = Counter()
  private let looks = Counter()
  var tellsThreads = true

  var sensors: BenchSensors {
    BenchSensors(
      clock: { Double(self.seconds.next()) }, thermal: { "light" },
      threads: { self.tellsThreads ? 10 + 3 * self.looks.next() : nil }, memory: { 123 })
  }
}

private final class Counter: @unchecked Sendable {
  private let lock = NSLock()
  private var count = 0

  /// 1, 2, ...
  func next() -> Int {
    lock.withLock {
      count += 1
      return count
    }
  }
}

private struct EstimatesOnly: Tokenizer {
  private let words = WordTokenizer()

  var inexactBecause: String? { "a test" }
  func count(_ text: String) -> TokenCount { TokenCount(words.count(text).tokens, isExact: false) }
  func tokens(before rest: String, in whole: String) -> TokenCount? { words.tokens(before: rest, in: whole) }
  func special(in message: String) -> String? { words.special(in: message) }
  func spelling(_ id: Int) -> String? { words.spelling(id) }
  func slices(_ text: String, size: Int) -> [String] { words.slices(text, size: size) }
}
