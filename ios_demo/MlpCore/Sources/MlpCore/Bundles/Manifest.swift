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
  public var verification: Verification?
  public var files: [String: FileEntry]

  public struct Exporter: Equatable, Sendable {
    public var name: String
    public var version: String
  }

  public struct ModelInfo: Equatable, Sendable {
    public var id: String
    public var revision: String?
    public var license: String?
    public var parameters: Int64
    public var vocabSize: Int
  }

  /// `minRuntime`: name of a runtime, such as "executorch" or "ios" -> the oldest version that runs the program.
  public struct BackendInfo: Equatable, Sendable {
    public var name: String
    public var target: String?
    public var compiledWith: [String: String]
    public var minRuntime: [String: String]
  }

  public struct TokenizerInfo: Equatable, Sendable {
    public var files: [String]
    public var bosId: Int
    public var eosIds: [Int]
    public var addBos: Bool
  }

  /// What the export compared. `passed` is false only in files that something else wrote.
  public struct Verification: Equatable, Sendable {
    public var passed: Bool
    public var tokens: Int
    public var checks: [Check]

    public struct Check: Equatable, Sendable {
      public var name: String
      public var passed: Bool
      public var detail: String
    }
  }

  public struct FileEntry: Equatable, Sendable {
    public var bytes: Int64
    public var sha256: String
  }

  /// The manifest in `text`. Throws `BundleError` with newerFormat, badName or damagedManifest.
  public static func parse(_ text: String) throws -> Manifest { try readManifest(text) }
}
