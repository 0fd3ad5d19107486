import Foundation

/// A bundle whose manifest, names and sizes were checked. Hashes are checked by `checkHashes`.
public struct ModelBundle: Equatable, Sendable {
  public var folder: URL
  public var manifest: Manifest

  public init(folder: URL, manifest: Manifest) {
    self.folder = folder
    self.manifest = manifest
  }

  public var name: String { folder.lastPathComponent }
  public var pte: URL { folder.appendingPathComponent("model.pte") }
  public var tokenizer: URL { folder.appendingPathComponent("tokenizer.json") }
  public var license: URL { folder.appendingPathComponent("LICENSE") }

  /// The bundle in `folder`: manifest, names and sizes checked. Throws `BundleError`.
  public static func open(_ folder: URL) throws -> ModelBundle { fatalError("skeleton") }

  /// Reads all files and compares their sha256. `progress` gets bytes done and bytes in all; what it throws ends this.
  ///
  /// Throws `BundleError` with wrongHash, or unreadable.
  public func checkHashes(progress: (_ done: Int64, _ total: Int64) throws -> Void = { _, _ in }) throws {
    fatalError("skeleton")
  }
}

/// Why a folder is no bundle that can be used. The app has a sentence for each; `detail` names file, key or number.
public struct BundleError: Error, Equatable {
  public var problem: BundleProblem
  public var detail: String

  public init(_ problem: BundleProblem, _ detail: String) {
    self.problem = problem
    self.detail = detail
  }
}

/// Raw values are the spellings of tests/vectors/manifests.json.
public enum BundleProblem: String, Sendable, CaseIterable {
  case notABundle = "NOT_A_BUNDLE"  // no manifest.json
  case newerFormat = "NEWER_FORMAT"  // detail: the number
  case damagedManifest = "DAMAGED_MANIFEST"  // detail: key and what is wrong
  case badName = "BAD_NAME"  // a file name with a separator, "..", ...
  case symbolicLink = "SYMBOLIC_LINK"
  case missingFile = "MISSING_FILE"
  case wrongSize = "WRONG_SIZE"  // half copied, 0 bytes
  case wrongHash = "WRONG_HASH"
  case unreadable = "UNREADABLE"  // permissions, a file provider that is offline
}
