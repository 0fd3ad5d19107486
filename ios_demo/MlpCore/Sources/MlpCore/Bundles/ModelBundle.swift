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
  public static func open(_ folder: URL) throws -> ModelBundle {
    let manifest = try Manifest.parse(try readText(folder))
    for (name, entry) in manifest.files.sorted(by: { $0.key < $1.key }) {
      try check(folder.appendingPathComponent(name), entry)
    }
    return ModelBundle(folder: folder, manifest: manifest)
  }

  /// Reads all files and compares their sha256. `progress` gets bytes done and bytes in all; what it throws ends this.
  ///
  /// Throws `BundleError` with wrongHash, or unreadable.
  public func checkHashes(progress: (_ done: Int64, _ total: Int64) throws -> Void = { _, _ in }) throws {
    let total = manifest.files.values.reduce(0) { $0 + $1.bytes }
    var done: Int64 = 0
    for (name, entry) in manifest.files.sorted(by: { $0.key < $1.key }) {
      let found: String
      do {
        found = try sha256(of: folder.appendingPathComponent(name)) { bytes in
          done += Int64(bytes)
          try progress(done, total)
        }
      } catch let error as FileError {
        throw BundleError(.unreadable, "\(name): \(error.reason)")
      }
      if found != entry.sha256 { throw BundleError(.wrongHash, name) }
    }
  }

  private static let mostManifestBytes: Int64 = 4 << 20

  private static func readText(_ folder: URL) throws -> String {
    let name = "manifest.json"
    let file = folder.appendingPathComponent(name)
    switch FileState(file) {
    case .symbolicLink: throw BundleError(.symbolicLink, name)
    case .missing, .other: throw BundleError(.notABundle, folder.path)
    case .denied(let reason): throw BundleError(.unreadable, "\(name): \(reason)")
    case .file(let bytes) where bytes > mostManifestBytes:
      throw BundleError(.damagedManifest, "\(name) has \(bytes) bytes, expected at most \(mostManifestBytes)")
    case .file: break
    }
    let data: Data
    do { data = try Data(contentsOf: file) } catch {
      throw BundleError(.unreadable, "\(name): \(error.localizedDescription)")
    }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw BundleError(.damagedManifest, "\(name) is not UTF-8")
    }
    return text
  }

  private static func check(_ file: URL, _ entry: Manifest.FileEntry) throws {
    let name = file.lastPathComponent
    switch FileState(file) {
    case .symbolicLink: throw BundleError(.symbolicLink, name)
    case .missing, .other: throw BundleError(.missingFile, name)
    case .denied(let reason): throw BundleError(.unreadable, "\(name): \(reason)")
    case .file(let bytes):
      if bytes != entry.bytes { throw BundleError(.wrongSize, "\(name): \(bytes) of \(entry.bytes)") }
      if let error = readingError(file) { throw BundleError(.unreadable, "\(name): \(error.reason)") }
    }
  }
}

/// What is at a path, without following a symbolic link.
private enum FileState {
  case file(bytes: Int64)
  case symbolicLink
  case other
  case missing
  case denied(String)

  init(_ url: URL) {
    var status = stat()
    guard lstat(url.path, &status) == 0 else {
      let isMissing = errno == ENOENT || errno == ENOTDIR
      self = isMissing ? .missing : .denied(FileError.last.reason)
      return
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: self = .file(bytes: Int64(status.st_size))
    case S_IFLNK: self = .symbolicLink
    default: self = .other
    }
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
