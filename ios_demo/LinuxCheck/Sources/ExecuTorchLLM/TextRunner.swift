import Foundation

public let ErrorDomain = "org.pytorch.executorch.llm.error"

/// What plays the C++ runner behind a `TextRunner`: a script, or the real one in another process.
public protocol NativeRunner: AnyObject {
  /// Loads model and tokenizer. Throws NSError, of code -1 where no runner could be created.
  func load() throws

  /// Calls `piece` with the bytes of each token. Throws NSError.
  func generate(_ prompt: String, _ settings: RunnerSettings, piece: ([UInt8]) -> Void) throws
  func stop()
  func reset()
}

/// A copy of a `Config`.
public struct RunnerSettings: Equatable {
  public var isEchoEnabled: Bool
  public var maximumNewTokens: Int
  public var isWarming: Bool
  public var sequenceLength: Int
  public var temperature: Double
  public var bosCount: Int
  public var eosCount: Int

  init(_ config: Config) {
    isEchoEnabled = config.isEchoEnabled
    maximumNewTokens = config.maximumNewTokens
    isWarming = config.isWarming
    sequenceLength = config.sequenceLength
    temperature = config.temperature
    bosCount = config.bosCount
    eosCount = config.eosCount
  }
}

/// Stand-in of ExecuTorchLLMTextRunner.h and .mm (ExecuTorch 1.5).
@available(*, deprecated, message: "This API is experimental.")
public class TextRunner: NSObject {
  /// Makes what plays the C++ runner, from the paths of model and tokenizer. Set by tests.
  nonisolated(unsafe) public static var native: (String, String) -> NativeRunner = { _, _ in ScriptedRunner() }

  private let runner: NativeRunner
  private var loaded = false

  public convenience init(modelPath: String, tokenizerPath: String) {
    self.init(modelPath: modelPath, tokenizerPath: tokenizerPath, specialTokens: [])
  }

  public init(modelPath: String, tokenizerPath: String, specialTokens: [String]) {
    runner = Self.native(modelPath, tokenizerPath)
  }

  public func isLoaded() -> Bool { loaded }

  public func load() throws {
    guard !loaded else { return }
    try runner.load()
    loaded = true
  }

  public func generate(_ prompt: String, _ config: Config, tokenCallback: ((String) -> Void)?) throws {
    try load()
    try runner.generate(prompt, RunnerSettings(config)) { bytes in
      // `@(token.c_str())`: ends at a zero; what is no UTF-8 becomes nil, which Swift takes for an empty string.
      let text = String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
      tokenCallback?(text ?? "")
    }
  }

  public func stop() { runner.stop() }

  public func reset() { runner.reset() }
}
