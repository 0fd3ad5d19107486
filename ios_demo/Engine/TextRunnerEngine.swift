// ExecuTorchLLM exports an Image and an Audio: it is imported here alone, where SwiftUI is not.
import ExecuTorchLLM
import Foundation
import MlpCore

/// ExecuTorch's `TextRunner` on a bundle (ExecuTorch 1.5).
///
/// A chat's text spells its start token, so none is added: the runner would add one to each call.
final class TextRunnerEngine: Engine, @unchecked Sendable {
  private let bundle: ModelBundle
  private let clock: @Sendable () -> Double
  // `stop` comes from any thread, and may meet a `close`.
  private let lock = NSLock()
  private var runner: TextRunner?

  /// `clock` gives seconds.
  init(_ bundle: ModelBundle, clock: @escaping @Sendable () -> Double = { ProcessInfo.processInfo.systemUptime }) {
    self.bundle = bundle
    self.clock = clock
  }

  func load() throws {
    // The runner has one code for all that it cannot open.
    for file in [bundle.pte, bundle.tokenizer] where !FileManager.default.isReadableFile(atPath: file.path) {
      throw EngineError(EngineFailure(kind: .missingFile, code: nil, detail: file.lastPathComponent))
    }
    let runner = TextRunner(modelPath: bundle.pte.path, tokenizerPath: bundle.tokenizer.path)
    try translating { try runner.load() }
    lock.withLock { self.runner = runner }
  }

  func prefill(_ text: String) throws {
    // The one token that comes with it is sampled and not fed: the KV cache holds `text` alone.
    try translating { try loaded().generate(text, config(maxNewTokens: 1, temperature: 0), tokenCallback: nil) }
  }

  func generate(
    _ text: String, maxNewTokens: Int, temperature: Double, onPiece: @escaping (String) -> Void
  ) throws -> EngineStats {
    let runner = try loaded()
    let start = clock()
    var first: Double?
    var pieces = 0
    // The runner calls back before `generate` returns, and never after.
    try translating {
      try runner.generate(text, config(maxNewTokens: maxNewTokens, temperature: temperature)) { [clock] piece in
        if first == nil { first = clock() }
        pieces += 1
        onPiece(piece)
      }
    }
    let end = clock()
    let decodeStart = first ?? end
    return EngineStats(
      generatedTokens: pieces, prefillSeconds: decodeStart - start, decodeSeconds: end - decodeStart)
  }

  func stop() {
    lock.withLock { runner }?.stop()
  }

  func reset() throws {
    try loaded().reset()
  }

  func close() {
    lock.withLock { runner = nil }
  }

  private func loaded() throws -> TextRunner {
    guard let runner = lock.withLock({ runner }) else {
      throw EngineError(EngineFailure(kind: .unknown, code: nil, detail: "the model is not loaded"))
    }
    return runner
  }

  private func config(maxNewTokens: Int, temperature: Double) -> Config {
    Config {
      $0.isEchoEnabled = false
      $0.maximumNewTokens = maxNewTokens
      $0.temperature = min(max(temperature, 0), 1)  // others are an error, told behind the first token
      $0.bosCount = 0
      $0.eosCount = 0
      $0.isWarming = true  // the runner would print each piece, and so what people write, into the device's log
    }
  }
}

/// Runs `call`, and throws what the runner throws as `EngineError`.
private func translating<T>(_ call: () throws -> T) throws -> T {
  do {
    return try call()
  } catch let error as EngineError {
    throw error
  } catch let error as NSError {
    throw EngineError(engineFailure(code: error.code, domain: error.domain, message: error.localizedDescription))
  }
}
