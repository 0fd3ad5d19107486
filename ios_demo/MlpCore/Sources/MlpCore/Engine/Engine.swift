/// One loaded model with its KV cache. All calls block and belong to one thread, but for `stop`, which any thread may
/// call. Every function but `stop` and `close` throws `EngineError`.
public protocol Engine: AnyObject, Sendable {
  func load() throws

  /// Adds `text` to the KV cache. Cannot be stopped: callers give slices and look between them.
  func prefill(_ text: String) throws

  /// Adds `text` to the KV cache and generates up to `maxNewTokens`. `onPiece` gets each piece as the runtime gives
  /// it, one for each token: the spelling of a stop token included, and an empty one for a token that is no whole
  /// characters. Ends early after `stop`.
  func generate(
    _ text: String, maxNewTokens: Int, temperature: Double, onPiece: @escaping (String) -> Void
  ) throws -> EngineStats

  /// Ends a running `generate`; the runtime loses it on a first token, so callers repeat it while pieces come.
  func stop()

  /// Empties the KV cache.
  func reset() throws

  /// Frees the model's memory.
  func close()
}

/// What one `generate` took. `generatedTokens` counts what was sampled, a stop token included.
public struct EngineStats: Equatable, Sendable {
  public var generatedTokens: Int
  public var prefillSeconds: Double
  public var decodeSeconds: Double

  public init(generatedTokens: Int, prefillSeconds: Double, decodeSeconds: Double) {
    self.generatedTokens = generatedTokens
    self.prefillSeconds = prefillSeconds
    self.decodeSeconds = decodeSeconds
  }
}

/// Tokens per second; nil where there was too little to time.
func rate(_ tokens: Int, _ seconds: Double) -> Double? {
  tokens < 1 || seconds <= 0 ? nil : Double(tokens) / seconds
}

public struct EngineError: Error, Equatable {
  public var failure: EngineFailure

  public init(_ failure: EngineFailure) { self.failure = failure }
}

/// `code` is ExecuTorch's error number where it gave one; `detail` what it said.
public struct EngineFailure: Equatable, Sendable {
  /// Raw values are the spellings of tests/vectors/error_codes.json and of benchmark results.
  public enum Kind: String, Sendable, CaseIterable {
    case missingFile = "MISSING_FILE"
    case notAProgram = "NOT_A_PROGRAM"  // damaged .pte or tokenizer: the runner could not be created
    case missingOperator = "MISSING_OPERATOR"
    case missingBackend = "MISSING_BACKEND"  // the program needs a delegate that is not linked
    case wrongDelegate = "WRONG_DELEGATE"
    case outOfMemory = "OUT_OF_MEMORY"
    case contextFull = "CONTEXT_FULL"
    case unknown = "UNKNOWN"  // the number is kept
  }

  public var kind: Kind
  public var code: Int?
  public var detail: String

  public init(kind: Kind, code: Int?, detail: String) {
    self.kind = kind
    self.code = code
    self.detail = detail
  }
}
