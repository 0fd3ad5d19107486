import MlpFixtures
import XCTest

@testable import MlpCore

@MainActor
final class ModelHostTests: XCTestCase {
  private let engines = Engines()
  private var engine: FakeEngine { engines.next }

  private lazy var host = ModelHost(
    engines: engines.make, tokenizers: { _ in WordTokenizer() }, memory: { 7 })

  private func bundle(_ name: String) -> ModelBundle {
    ModelBundle(folder: URL(fileURLWithPath: "/models/\(name)"), manifest: manifest())
  }

  private func request(_ name: String = "demo", _ text: String = "Hello") -> ModelHost.Request {
    ModelHost.Request(bundle: bundle(name), turns: [Turn(.user, text)], settings: .init(), tag: "test")
  }

  @discardableResult
  private func answer(_ request: ModelHost.Request) async -> Answer? {
    XCTAssertTrue(host.submit(request))
    await until("answer") { !host.isBusy }
    return host.answer
  }

  func testStatesComeInOrder() async {
    let recorder = Recorder()
    host.recorder = recorder
    XCTAssertNil(host.request)
    engine.pause()
    XCTAssertTrue(host.submit(request()))
    guard case .loading(let loading) = host.state else { return XCTFail("\(host.state)") }
    XCTAssertEqual(loading, request())
    engine.step(2)  // load, first piece
    await until("text") { host.text == "Yes" }
    XCTAssertTrue(host.isBusy)
    engine.resume()
    await until("answer") { !host.isBusy }
    XCTAssertEqual(host.answer?.text, "Yes.")
    XCTAssertEqual(host.answer?.end, .complete)
    XCTAssertEqual(host.answer?.statistics.memoryBytes, 7)
    XCTAssertNil(host.stopCause)
    XCTAssertEqual(recorder.events, ["Yes", "Yes.", "done"])
  }

  func testOneRequestAtATime() async {
    engine.pause()
    XCTAssertTrue(host.submit(request()))
    XCTAssertFalse(host.submit(request("demo", "Me too")))
    engine.resume()
    await until("answer") { !host.isBusy }
    XCTAssertEqual(engine.calls.filter(\.isGenerate).count, 1)
  }

  func testNothingIsTakenWhileReserved() async {
    let first = host.reserve()
    let second = host.reserve()
    XCTAssertFalse(host.submit(request()))
    first.release()
    first.release()  // counts once
    XCTAssertFalse(host.submit(request()))
    XCTAssertFalse(host.isBusy)
    second.release()
    let text = await answer(request())?.text
    XCTAssertEqual(text, "Yes.")
  }

  func testAnotherBundleReplacesTheLoadedOne() async {
    let first = engine
    await answer(request())
    await answer(request())
    XCTAssertEqual(first.calls.filter { $0 == .load }.count, 1, "loaded once")
    engines.next = FakeEngine()
    await answer(request("other"))
    XCTAssertEqual(first.calls.last, .close, "freed before the other loads")
    XCTAssertEqual(engines.made, ["demo", "other"])
  }

  func testABundleThatChangedOnTheDiskIsLoadedAnew() async {
    await answer(request())
    var changed = request()
    changed.bundle.manifest.context = 64
    await answer(changed)
    XCTAssertEqual(engines.made, ["demo", "demo"])
  }

  func testUnloadStopsAndReturnsWhenTheMemoryIsFree() async {
    engine.script(Array(repeating: " a", count: 40))
    engine.pause()
    XCTAssertTrue(host.submit(request()))
    engine.step(3)
    await until("text") { host.text == " a a" }
    let engine = engine
    let unloading = Task {
      await host.unload()
      return engine.calls.contains(.close)
    }
    await until("stop") { engine.calls.contains(.stop) }
    XCTAssertFalse(engine.calls.contains(.close), "the engine is still in a call")
    engine.resume()
    let isClosed = await unloading.value
    XCTAssertTrue(isClosed)
    await until("end") { !host.isBusy }
    XCTAssertEqual(host.answer?.end, .stopped)
  }

  func testUnloadOfAnotherBundleDoesNothing() async {
    await answer(request())
    await host.unload(bundle("other"))
    await answer(request())
    XCTAssertFalse(engine.calls.contains(.close))
    await host.unload(bundle("demo"))
    XCTAssertEqual(engine.calls.last, .close)
  }

  func testStopWhileTheModelLoadsAnswersNothing() async {
    engine.pause()
    XCTAssertTrue(host.submit(request()))
    host.stop()
    engine.resume()
    await until("end") { !host.isBusy }
    XCTAssertEqual(host.answer?.end, .stopped)
    XCTAssertEqual(host.answer?.text, "")
    XCTAssertFalse(engine.calls.contains(where: \.isGenerate))
    let next = await answer(request())
    XCTAssertEqual(next?.end, .complete, "a stop is for one request")
    XCTAssertNil(host.stopCause)
  }

  func testWhatTheSystemStopsIsInterrupted() async {
    for cause in [ModelHost.StopCause.background, .memory] {
      engine.script(Array(repeating: " a", count: 40))
      engine.pause()
      XCTAssertTrue(host.submit(request()))
      host.stop(cause)
      host.stop(.user)  // too late to be the cause
      engine.resume()
      await until("end") { !host.isBusy }
      XCTAssertEqual(host.answer?.end, .interrupted)
      XCTAssertEqual(host.stopCause, cause)
    }
  }

  func testAUsersStopStaysOneWhenTheSystemStopsToo() async {
    engine.pause()
    XCTAssertTrue(host.submit(request()))
    host.stop()
    host.stop(.background)
    engine.resume()
    await until("end") { !host.isBusy }
    XCTAssertEqual(host.answer?.end, .stopped)
    XCTAssertEqual(host.stopCause, .user)
  }

  func testAFailedLoadFreesTheEngineAndTheNextRequestLoadsAnew() async {
    let failure = EngineError(EngineFailure(kind: .outOfMemory, code: 33, detail: "no room"))
    let first = engine
    first.failOn = { $0 == .load ? failure : nil }
    XCTAssertTrue(host.submit(request()))
    await until("failure") { !host.isBusy }
    guard case .failed(_, let problem, let text) = host.state else { return XCTFail("\(host.state)") }
    XCTAssertEqual(problem as? EngineError, failure)
    XCTAssertEqual(text, "")
    XCTAssertEqual(first.calls, [.load, .close])
    engines.next = FakeEngine()
    let next = await answer(request())
    XCTAssertEqual(next?.text, "Yes.")
  }

  func testAFailureInMidAnswerKeepsTheText() async {
    let failure = EngineError(EngineFailure(kind: .unknown, code: 1, detail: "broke"))
    engine.failAfterPiece = { $0 == 1 ? failure : nil }
    XCTAssertTrue(host.submit(request()))
    await until("failure") { !host.isBusy }
    guard case .failed(_, _, let text) = host.state else { return XCTFail("\(host.state)") }
    XCTAssertEqual(text, "Yes.")
    XCTAssertEqual(engine.calls.last, .close)
  }

  func testARefusedPromptKeepsTheModel() async {
    XCTAssertTrue(host.submit(request("demo", "<|im_end|>")))
    await until("failure") { !host.isBusy }
    guard case .failed(_, let problem, _) = host.state else { return XCTFail("\(host.state)") }
    XCTAssertEqual((problem as? PromptError)?.problem, .specialToken)
    await answer(request())
    XCTAssertEqual(engine.calls.filter { $0 == .load }.count, 1)
  }
}

/// Gives `next` as the engine of each bundle, and remembers the bundles' names.
final class Engines: @unchecked Sendable {
  private let lock = NSLock()
  private var engine = FakeEngine()
  private var names: [String] = []

  var next: FakeEngine {
    get { lock.withLock { engine } }
    set { lock.withLock { engine = newValue } }
  }

  var made: [String] { lock.withLock { names } }

  var make: EngineFactory {
    { bundle in
      self.lock.withLock {
        self.names.append(bundle.name)
        return self.engine
      }
    }
  }
}

private final class Recorder: AnswerRecorder, @unchecked Sendable {
  private let lock = NSLock()
  private var all: [String] = []

  var events: [String] { lock.withLock { all } }

  func wrote(_ request: ModelHost.Request, text: String) { lock.withLock { all.append(text) } }

  func ended(_ request: ModelHost.Request, with end: ModelHost.State) {
    if case .done = end { lock.withLock { all.append("done") } }
  }
}

extension FakeEngine.Call {
  var isGenerate: Bool { if case .generate = self { true } else { false } }
}

extension ModelHost {
  var answer: Answer? { if case .done(_, let answer) = state { answer } else { nil } }

  var text: String? { if case .working(_, _, _, let text) = state { text } else { nil } }
}
