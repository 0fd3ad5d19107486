import Foundation

/// What a bundle's `manifest.json` says, format 2; format 1 is read as it. The keys are those of docs/manifest.md.
public struct Manifest: Equatable, Sendable {
  public var exporter: Exporter?
  public var model: ModelInfo
  public var backend: BackendInfo
  public var context: Int
  public var prefillChunk: Int
  public var quantizationScheme: String
  public var kvCacheBytes: Int64
  public var kvScaleBytes: Int64
  public var deviceRamBytes: Int64
  public var tokenizer: TokenizerInfo
  public var chat: ChatFormat?
  public var chatLimits: [String]  // what of the checkpoint's template is not carried, and why
  public var verification: Verification?
  public var files: [String: FileEntry]

  public init(
    exporter: Exporter?, model: ModelInfo, backend: BackendInfo, context: Int, prefillChunk: Int,
    quantizationScheme: String, kvCacheBytes: Int64, kvScaleBytes: Int64, deviceRamBytes: Int64,
    tokenizer: TokenizerInfo, chat: ChatFormat?, chatLimits: [String] = [],
    verification: Verification?, files: [String: FileEntry]
  ) {
    self.exporter = exporter
    self.model = model
    self.backend = backend
    self.context = context
    self.prefillChunk = prefillChunk
    self.quantizationScheme = quantizationScheme
    self.kvCacheBytes = kvCacheBytes
    self.kvScaleBytes = kvScaleBytes
    self.deviceRamBytes = deviceRamBytes
    self.tokenizer = tokenizer
    self.chat = chat
    self.chatLimits = chatLimits
    self.verification = verification
    self.files = files
  }

  public struct Exporter: Equatable, Sendable {
    public var name: String
    public var version: String

    public init(name: String, version: String) {
      self.name = name
      self.version = version
    }
  }

  public struct ModelInfo: Equatable, Sendable {
    public var id: String
    public var revision: String?
    public var license: String?
    public var parameters: Int64
    public var vocabSize: Int

    public init(id: String, revision: String?, license: String?, parameters: Int64, vocabSize: Int) {
      self.id = id
      self.revision = revision
      self.license = license
      self.parameters = parameters
      self.vocabSize = vocabSize
    }
  }

  /// `minRuntime`: name of a runtime, such as "executorch" or "ios" -> the oldest version that runs the program.
  public struct BackendInfo: Equatable, Sendable {
    public var name: String
    public var target: String?
    public var compiledWith: [String: String]
    public var minRuntime: [String: String]

    public init(name: String, target: String?, compiledWith: [String: String], minRuntime: [String: String]) {
      self.name = name
      self.target = target
      self.compiledWith = compiledWith
      self.minRuntime = minRuntime
    }
  }

  public struct TokenizerInfo: Equatable, Sendable {
    public var files: [String]
    public var bosId: Int
    public var eosIds: [Int]
    public var addBos: Bool
    public var normalization: Normalization?
    public var answerStrip: String?  // dropped from the beginning of an answer, once

    public enum Normalization: String, Sendable, CaseIterable { case nfc = "NFC" }

    public init(
      files: [String], bosId: Int, eosIds: [Int], addBos: Bool, normalization: Normalization? = nil,
      answerStrip: String? = nil
    ) {
      self.files = files
      self.bosId = bosId
      self.eosIds = eosIds
      self.addBos = addBos
      self.normalization = normalization
      self.answerStrip = answerStrip
    }

    /// `text` as the runtime is to be given it. It is for one message or a plain prompt, before a chat's strings are put
    /// around it: the runtime's tokenizer leaves out a form that it does not do as the checkpoint's does.
    public func normalized(_ text: String) -> String {
      switch normalization {
      case .nfc: text.precomposedStringWithCanonicalMapping
      case nil: text
      }
    }

    /// What is shown of an answer that is `said` so far.
    func visible(of said: String, isAll: Bool) -> String {
      let (all, dropped) = (said.utf8, (answerStrip ?? "").utf8)
      if all.starts(with: dropped) { return String(decoding: all.dropFirst(dropped.count), as: UTF8.self) }
      // A beginning of what is dropped may become all of it.
      return !isAll && dropped.starts(with: all) ? "" : said
    }
  }

  /// What the export compared. `passed` is false only in files that something else wrote.
  public struct Verification: Equatable, Sendable {
    public var passed: Bool
    public var tokens: Int
    public var checks: [Check]

    public init(passed: Bool, tokens: Int, checks: [Check]) {
      self.passed = passed
      self.tokens = tokens
      self.checks = checks
    }

    public struct Check: Equatable, Sendable {
      public var name: String
      public var passed: Bool
      public var detail: String

      public init(name: String, passed: Bool, detail: String) {
        self.name = name
        self.passed = passed
        self.detail = detail
      }
    }
  }

  public struct FileEntry: Equatable, Sendable {
    public var bytes: Int64
    public var sha256: String

    public init(bytes: Int64, sha256: String) {
      self.bytes = bytes
      self.sha256 = sha256
    }
  }

  /// Tokens that an answer may have behind `tokens` of a prompt. Its last one needs no place in the KV cache, as it is
  /// not fed, but the runtime keeps one for it where the context is one chunk.
  func room(after tokens: Int) -> Int { context - tokens + (prefillChunk < context ? 1 : 0) }

  /// The manifest in `text`. Throws `BundleError` with newerFormat, badName or damagedManifest.
  public static func parse(_ text: String) throws -> Manifest { try readManifest(text) }
}
