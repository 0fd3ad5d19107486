import MlpCore
import XCTest

@testable import MlpDemo

/// A bundle on ExecuTorch's own runtime, inside the app on the Simulator or a phone:
///
///     TEST_RUNNER_MLP_BUNDLE=FOLDER TEST_RUNNER_MLP_PROMPT=TEXT TEST_RUNNER_MLP_ANSWER=TEXT xcodebuild test ...
///
/// The answer is what `mlp-export run FOLDER --prompt TEXT --max-new-tokens 32` gives; without it any will do.
final class RealBundleTests: XCTestCase {
  private struct Listener: AnswerListener {
    let isCancelled = false
    func prefilled(_ done: Int, of total: Int) {}
    func wrote(_ text: String) {}
  }

  func testAnswersAsTheHostDoes() throws {
    let environment = ProcessInfo.processInfo.environment
    guard let folder = environment["MLP_BUNDLE"] else {
      throw XCTSkip("no bundle to ask: set TEST_RUNNER_MLP_BUNDLE to the folder of one")
    }
    let bundle = try ModelBundle.open(URL(fileURLWithPath: folder))
    try bundle.checkHashes()
    let engine = TextRunnerEngine(bundle)
    try engine.load()
    defer { engine.close() }
    let session = ChatSession(engine: engine, manifest: bundle.manifest, tokenizer: openTokenizer(bundle.tokenizer))
    let turns = [Turn(.user, environment["MLP_PROMPT"] ?? "What is the capital of France?")]
    let settings = GenerationSettings(maxNewTokens: 32)
    let answer = try session.answer(turns, settings, Listener())
    XCTAssertFalse(answer.text.isEmpty)
    if let expected = environment["MLP_ANSWER"] { XCTAssertEqual(answer.text, expected) }

    let next = turns + [Turn(.assistant, answer.text), Turn(.user, "Say it again.")]
    let second = try session.answer(next, settings, Listener())
    XCTAssertFalse(second.text.isEmpty)
    XCTAssertGreaterThan(second.statistics.cachedTokens, 0, "the second turn reads only what is new")
  }
}
