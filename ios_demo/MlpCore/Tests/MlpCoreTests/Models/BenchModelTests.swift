import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

@MainActor
final class BenchModelTests: XCTestCase {
  private var temporary: TemporaryFolder?
  private var folder: URL { temporary?.url ?? URL(fileURLWithPath: "/nowhere") }
  private let engine = FakeEngine(context: 2048)
  private var device = FakeDeviceProbe()
  private lazy var hostEngine = FakeEngine()
  private lazy var host = ModelHost(
    engines: { [hostEngine] _ in hostEngine }, tokenizers: { _ in WordTokenizer() }, memory: { 0 })
  private lazy var ledger = HashLedger(file: folder.appendingPathComponent("checked.json"))

  override func setUp() async throws {
    temporary = try TemporaryFolder()
    engine.otherwise = Array(repeating: "w", count: 4)
  }

  private func plan(bundle: String = "smol", id: String = "run-1") -> String {
    #"{"format": 1, "id": "\#(id)", "bundle": "\#(bundle)", "prompt_tokens": [64, 128, 4096], "new_tokens": 3, "#
      + #""repetitions": 2, "sustained_seconds": 0}"#
  }

  private var documents: URL { folder.appendingPathComponent("Documents") }

  @discardableResult
  private func write(_ manifest: Manifest = manifest(context: 2048)) throws -> ModelBundle {
    try writeBundle(manifest, in: documents)
  }

  private func model(
    _ plan: String?, tokenizer: @escaping @Sendable (ModelBundle) -> any Tokenizer = { _ in WordTokenizer() }
  ) -> BenchModel {
    let folders = AppFolders(documents: documents, support: folder, inbox: nil, caches: folder)
    return BenchModel(
      plan: plan, folders: folders, device: device, host: host,
      bundles: BundleRepository(documents: documents, ledger: ledger), ledger: ledger,
      engines: { [engine] _ in engine }, tokenizers: tokenizer)
  }

  private func result(_ id: String = "run-1") -> Json? {
    let file = documents.appendingPathComponent("bench/\(id).json")
    return (try? String(contentsOf: file, encoding: .utf8)).flatMap { try? Json.parse($0) }
  }

  private func finish(_ model: BenchModel, _ id: String = "run-1") async throws -> Json {
    try FileManager.default.createDirectory(at: documents, withIntermediateDirectories: true)
    model.start()
    await until("end") { !model.isRunning }
    return try XCTUnwrap(result(id))
  }

  func testThePlanOfALaunch() async {
    XCTAssertEqual(BenchModel.plan(in: ["app", "--bench", "{}"]), "{}")
    XCTAssertEqual(BenchModel.plan(in: ["app", "--bench"]), "")
    XCTAssertNil(BenchModel.plan(in: ["app", "-bench", "{}"]))
    XCTAssertTrue(model("{}").isWanted)
    XCTAssertFalse(model(nil).isWanted)
  }

  func testAPlanIsMeasuredAndWritten() async throws {
    let bundle = try write()
    let model = model(plan())
    XCTAssertFalse(model.isRunning)
    let result = try await finish(model)
    XCTAssertEqual(result["status"], "done")
    XCTAssertEqual(result["skipped"], [4096])
    let runs = try XCTUnwrap(result["runs"]?.asArray)
    XCTAssertEqual(runs.map { $0["wanted_tokens"] }, [64, 64, 128, 128])
    XCTAssertEqual(result["progress"]?["done"], 5)
    XCTAssertEqual(result["app"]?["runtimes"], ["executorch": "1.5.1"])
    XCTAssertEqual(result["device"]?["ios"], "18.5")
    XCTAssertEqual(engine.calls.last, .close, "measured on an engine of its own")
    let left = try FileManager.default.contentsOfDirectory(atPath: documents.appendingPathComponent("bench").path)
    XCTAssertEqual(left, ["run-1.json"], "no temporary file is left")
    XCTAssertEqual(ledger.state(bundle), .checked, "and need not be read again")
    XCTAssertEqual(model.stage, text("bench.done"))
    XCTAssertEqual(model.name, "SmolLM2-135M-Instruct")
    XCTAssertEqual(model.fraction, 1)
    XCTAssertEqual(model.lines.count, 5)
    XCTAssertTrue(model.lines[1].contains("64"), model.lines[1])
    XCTAssertTrue(model.lines[1].contains(formatted(10.0, digits: 1)), model.lines[1])
    XCTAssertEqual(model.file, text("bench.file", "bench/run-1.json"))
  }

  func testAScreenThatComesBackDoesNotMeasureAnew() async throws {
    try write()
    let model = model(plan())
    _ = try await finish(model)
    let calls = engine.calls.count
    model.start()
    XCTAssertFalse(model.isRunning)
    try await Task.sleep(for: .milliseconds(50))  // in which it would load
    XCTAssertEqual(engine.calls.count, calls)
  }

  func testNothingIsLoadedBesideAMeasurement() async throws {
    let bundle = try write()
    let request = ModelHost.Request(bundle: bundle, turns: [Turn(.user, "Hi")], settings: .init(), tag: "chat/1")
    hostEngine.pause()
    XCTAssertTrue(host.submit(request))
    await until("load") { !hostEngine.calls.isEmpty }
    engine.pause()
    let model = model(plan())
    model.start()
    try await Task.sleep(for: .milliseconds(50))  // in which it would load
    XCTAssertEqual(engine.calls, [], "the other model is still there")
    XCTAssertTrue(model.isRunning)
    XCTAssertEqual(model.stage, text("bench.starting"))
    hostEngine.resume()
    await until("load of what is measured") { !engine.calls.isEmpty }
    XCTAssertEqual(hostEngine.calls.last, .close)
    XCTAssertFalse(host.submit(request), "nothing beside a measurement")
    engine.resume()
    await until("end") { !model.isRunning }
    await until("the model can be used again") { host.submit(request) }
    await until("answer") { !host.isBusy }
  }

  func testStopLeavesACancelledResult() async throws {
    try write()
    engine.pause()
    let model = model(plan())
    model.start()
    await until("load") { result()?["status"] == "running" && !model.name.isEmpty }
    XCTAssertEqual(model.stage, text("bench.running", "1", "5", "load"))
    XCTAssertEqual(model.fraction, 0)
    model.cancel()
    engine.resume()
    await until("end") { !model.isRunning }
    XCTAssertEqual(result()?["status"], "cancelled")
    XCTAssertEqual(model.stage, text("bench.cancelled"))
    XCTAssertEqual(engine.calls.last, .close)
  }

  func testCancelledWhileHashesAreChecked() async throws {
    try write()
    let model = model(plan())
    model.cancel()
    let result = try await finish(model)
    XCTAssertEqual(result["status"], "cancelled")
    XCTAssertEqual(engine.calls, [])
  }

  private func assertFails(
    _ plan: String, _ kind: String, id: String = "run-1", line: UInt = #line
  ) async throws -> BenchModel {
    let model = model(plan)
    let result = try await finish(model, id)
    XCTAssertEqual(result["status"], "failed", line: line)
    XCTAssertEqual(result["error"]?["kind"], .string(kind), line: line)
    XCTAssertTrue(model.stage.hasPrefix(text("bench.failed", "")), model.stage, line: line)
    return model
  }

  func testAMissingBundleIsAResultWithTheReason() async throws {
    let model = try await assertFails(plan(bundle: "nothing"), "NOT_A_BUNDLE")
    XCTAssertEqual(model.name, "nothing")
    XCTAssertEqual(model.stage, text("bench.failed", sentence(BundleError(.notABundle, "nothing"))))
  }

  func testAHalfCopiedBundleIsAResultWithTheReason() async throws {
    try FileManager.default.removeItem(at: write().folder.appendingPathComponent("manifest.json"))
    _ = try await assertFails(plan(), "NOT_A_BUNDLE")
  }

  func testADamagedBundleIsAResultWithTheReason() async throws {
    let bundle = try write()
    try Data("A program".utf8).write(to: bundle.pte)
    _ = try await assertFails(plan(), "WRONG_HASH")
    try Data("short".utf8).write(to: bundle.pte)
    _ = try await assertFails(plan(), "WRONG_SIZE")
    XCTAssertEqual(engine.calls, [])
  }

  func testABundleWhoseHashIsKnownToBeWrong() async throws {
    ledger.record(try write(), wrong: "model.pte")
    _ = try await assertFails(plan(), "WRONG_HASH")
  }

  func testABundleThatDoesNotFitIsAResultWithTheReason() async throws {
    let bundle = try write(manifest(context: 2048, backend: "coreml", minRuntime: ["ios": "18"]))
    device.found.systemVersion = "17.5"
    let model = try await assertFails(plan(), "OLD_SYSTEM")
    XCTAssertEqual(
      result()?["error"]?["message"],
      .string(sentence(DeviceFit.Reason(kind: .oldSystem, found: "iOS 17.5", expected: "iOS 18"))))
    XCTAssertEqual(result()?["bundle"]?["name"], .string(bundle.name))
    XCTAssertEqual(model.name, "SmolLM2-135M-Instruct")
    XCTAssertEqual(engine.calls, [])
  }

  func testAnEngineThatFailsIsAResultWithItsNumber() async throws {
    try write()
    let failure = EngineFailure(kind: .outOfMemory, code: 0x21, detail: "no room")
    engine.failOn = { $0 == .load ? EngineError(failure) : nil }
    let model = try await assertFails(plan(), "OUT_OF_MEMORY")
    XCTAssertEqual(result()?["error"]?["code"], 0x21)
    XCTAssertEqual(result()?["error"]?["message"], "no room")
    XCTAssertEqual(model.stage, text("bench.failed", sentence(failure)))
    XCTAssertEqual(engine.calls.last, .close)
  }

  func testTokensThatCanOnlyBeEstimated() async throws {
    try write()
    let model = model(plan()) { _ in openTokenizer(URL(fileURLWithPath: "/no such file")) }
    let result = try await finish(model)
    XCTAssertEqual(result["error"]?["kind"], "INEXACT_TOKENS")
    XCTAssertEqual(engine.calls, [.close])
  }

  func testABadPlanIsAResultWithTheReason() async throws {
    let none = plan().replacingOccurrences(of: "\"new_tokens\": 3", with: "\"new_tokens\": 0")
    for (text, id) in [(none, "run-1"), ("{", "bad-plan"), ("", "bad-plan"), (plan(id: "../../evil"), "bad-plan")] {
      _ = try await assertFails(text, "BAD_PLAN", id: id)
      XCTAssertEqual(result(id)?["plan"], .null)
    }
    XCTAssertTrue(try XCTUnwrap(result("run-1")?["error"]?["message"]?.asString).contains("new_tokens"))
    XCTAssertFalse(FileManager.default.fileExists(atPath: folder.appendingPathComponent("evil.json").path))
  }

  func testAResultThatCannotBeWrittenIsToldOnTheScreen() async throws {
    try write()
    try Data().write(to: documents.appendingPathComponent("bench"))
    let model = model(plan())
    model.start()
    await until("end") { !model.isRunning }
    XCTAssertEqual(model.stage, text("bench.done"))
    XCTAssertTrue(model.file.contains(text("bench.notWritten", "").prefix(20)), model.file)
  }

  func testWithoutAPlanTheScreenSaysHowToStart() async {
    let model = model(nil)
    model.start()
    XCTAssertFalse(model.isRunning)
    XCTAssertTrue(model.stage.contains("mlp-export bench BUNDLE --device ios"), model.stage)
    XCTAssertEqual(model.lines, [])
    XCTAssertEqual(model.file, "")
  }
}
