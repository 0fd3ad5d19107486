import MlpCore
import XCTest

@testable import MlpDemo

/// A bundle on ExecuTorch's own runtime, inside the app on the Simulator, which sees the Mac's files:
///
///     TEST_RUNNER_MLP_BUNDLE=FOLDER TEST_RUNNER_MLP_PROMPT=TEXT TEST_RUNNER_MLP_ANSWER=TEXT xcodebuild test ...
///
/// The answer is what `mlp-export run FOLDER --prompt TEXT --max-new-tokens 32` gives on the Mac. xcodebuild passes the
/// variables on without `TEST_RUNNER_`. .github/workflows/ios.yml sets them.
final class RealBundleTests: XCTestCase {
  private struct Listener: AnswerListener {
    let isCancelled = false
    func prefilled(_ done: Int, of total: Int) {}
    func wrote(_ text: String) {}
  }

  func testAnswersAsTheHostDoes() throws {
    let environment = ProcessInfo.processInfo.environment
    guard let folder = environment["MLP_BUNDLE"] else {
      throw XCTSkip("no bundle to ask: set TEST_RUNNER_MLP_BUNDLE, TEST_RUNNER_MLP_PROMPT and TEST_RUNNER_MLP_ANSWER")
    }
    let prompt = try XCTUnwrap(environment["MLP_PROMPT"], "TEST_RUNNER_MLP_PROMPT is not set")
    let expected = try XCTUnwrap(environment["MLP_ANSWER"], "TEST_RUNNER_MLP_ANSWER is not set")
    XCTAssertFalse(expected.isEmpty, "the host answered nothing")
    let bundle = try ModelBundle.open(URL(fileURLWithPath: folder))
    try bundle.checkHashes()
    let engine = TextRunnerEngine(bundle)
    try engine.load()
    defer { engine.close() }
    let session = ChatSession(engine: engine, manifest: bundle.manifest, tokenizer: openTokenizer(bundle.tokenizer))
    let turns = [Turn(.user, prompt)]
    let settings = GenerationSettings(maxNewTokens: 32)
    let answer = try session.answer(turns, settings, Listener())
    XCTAssertEqual(answer.text, expected)

    let next = turns + [Turn(.assistant, answer.text), Turn(.user, "Say it again.")]
    let second = try session.answer(next, settings, Listener())
    XCTAssertFalse(second.text.isEmpty)
    XCTAssertGreaterThan(second.statistics.cachedTokens, 0, "the second turn reads only what is new")
  }
}
