import Foundation

/// The device has `free` bytes where `needed` are wanted.
public struct NoSpaceError: Error, Equatable {
  public enum Purpose: Sendable {
    case copy
    case compile  // Core ML's work at the first load
  }

  public var needed: Int64
  public var free: Int64
  public var purpose: Purpose

  public init(needed: Int64, free: Int64, purpose: Purpose) {
    self.needed = needed
    self.free = free
    self.purpose = purpose
  }
}

/// Copies bundles into Documents. Only what the manifest names is copied, its size and hash are checked on the way, and
/// the folder moves there at the end: a bundle that is there is whole.
public struct BundleImporter: Sendable {
  private static let buffer = 1 << 18
  private static let maxName = 80
  private static let maxManifestBytes = 4 << 20

  /// So that a full device can still save its conversations.
  static let reserve: Int64 = 64 << 20

  private let documents: URL
  private let staging: URL
  private let ledger: HashLedger
  private let freeBytes: @Sendable () -> Int64?

  /// `staging`: a folder of the same disk that people do not see.
  public init(
    documents: URL, staging: URL, ledger: HashLedger, freeBytes: @escaping @Sendable () -> Int64?
  ) {
    self.documents = documents
    self.staging = staging
    self.ledger = ledger
    self.freeBytes = freeBytes
  }

  /// The imported bundle. `progress` gets the bytes copied and those of all files, and ends the import by throwing,
  /// such as `CancellationError`; nothing stays behind then.
  ///
  /// Throws `BundleError` where `source` is no bundle that can be used, `NoSpaceError`, and what reading and writing
  /// throw.
  public func copy(
    _ source: ImportSource, access: some FileAccess, progress: (_ done: Int64, _ total: Int64) throws -> Void
  ) throws -> ModelBundle {
    let text = try manifest(of: source, access: access)
    let manifest = try Manifest.parse(text)
    let files = try manifest.files.sorted { $0.key < $1.key }.map { name, entry in
      try check(source.files.first { $0.name == name }, name, entry)
    }
    let total = files.reduce(0) { $0 + $1.entry.bytes }
    if let free = freeBytes(), free < total + Self.reserve {
      throw NoSpaceError(needed: total + Self.reserve, free: free, purpose: .copy)
    }
    let partial = staging.appendingPathComponent(UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: partial) }
    try FileManager.default.createDirectory(at: partial, withIntermediateDirectories: true)
    var before: Int64 = 0
    for (file, entry) in files {
      try progress(before, total)  // before a provider downloads
      let target = partial.appendingPathComponent(file.name)
      try access.read(file.url) {
        try copy(from: $0, to: target, file.name, entry) { try progress(before + $0, total) }
      }
      before += entry.bytes
    }
    try Data(text.utf8).write(to: partial.appendingPathComponent(BundleRepository.manifest))
    excludeFromBackup(partial)
    let target = freeName(source.name ?? lastComponent(manifest.model.id))
    try FileManager.default.moveItem(at: partial, to: target)
    let bundle = try ModelBundle.open(target)
    ledger.record(bundle, wrong: nil)
    return bundle
  }

  /// Removes what an import that was killed left behind.
  public func deleteLeftovers() { try? FileManager.default.removeItem(at: staging) }

  private func manifest(of source: ImportSource, access: some FileAccess) throws -> String {
    guard let file = source.files.first(where: { $0.name == BundleRepository.manifest }) else {
      throw BundleError(.notABundle, source.name ?? "")
    }
    let bytes = try access.read(file.url) { url in
      let handle = try FileHandle(forReadingFrom: url)
      defer { try? handle.close() }
      return try handle.read(upToCount: Self.maxManifestBytes + 1) ?? Data()
    }
    guard bytes.count <= Self.maxManifestBytes else {
      throw BundleError(.damagedManifest, "> \(Self.maxManifestBytes) bytes")
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw BundleError(.damagedManifest, "\(BundleRepository.manifest) is not UTF-8")
    }
    return text
  }

  private func check(
    _ file: ImportFile?, _ name: String, _ entry: Manifest.FileEntry
  ) throws -> (file: ImportFile, entry: Manifest.FileEntry) {
    guard let file else { throw BundleError(.missingFile, name) }
    if let bytes = file.bytes, bytes != entry.bytes {
      throw BundleError(.wrongSize, "\(name): \(bytes) of \(entry.bytes)")
    }
    return (file, entry)
  }

  private func copy(
    from source: URL, to target: URL, _ name: String, _ entry: Manifest.FileEntry, progress: (Int64) throws -> Void
  ) throws {
    let input = try FileHandle(forReadingFrom: source)
    defer { try? input.close() }
    try Data().write(to: target)
    let output = try FileHandle(forWritingTo: target)
    defer { try? output.close() }
    var hash = Sha256()
    var copied: Int64 = 0
    var isMore = true
    while isMore {
      try progress(copied)
      isMore = try releasing {
        guard let bytes = try input.read(upToCount: Self.buffer), !bytes.isEmpty else { return false }
        copied += Int64(bytes.count)
        // More than the manifest says is not written: a provider may give without end.
        if copied > entry.bytes { return false }
        bytes.withUnsafeBytes { hash.update($0) }
        try output.write(contentsOf: bytes)
        return true
      }
    }
    try output.synchronize()
    guard copied == entry.bytes else { throw BundleError(.wrongSize, "\(name): \(copied) of \(entry.bytes)") }
    guard hash.finish() == entry.sha256 else { throw BundleError(.wrongHash, name) }
  }

  /// A folder that is not there yet: letters, digits and `_.-`, with a number if the name is taken.
  private func freeName(_ wanted: String) -> URL {
    var plain = wanted.replacingOccurrences(of: "[^A-Za-z0-9_.-]+", with: "-", options: .regularExpression)
    plain = String(plain.drop { $0 == "." || $0 == "-" })
    plain = String(plain.prefix(Self.maxName))
    while plain.hasSuffix(BundleRepository.partial) { plain.removeLast(BundleRepository.partial.count) }
    if plain.isEmpty { plain = "bundle" }
    var name = plain
    var number = 1
    while isTaken(name) {
      number += 1
      name = "\(plain)-\(number)"
    }
    return documents.appendingPathComponent(name)
  }

  private func isTaken(_ name: String) -> Bool {
    BundleRepository.reserved.contains(name) || name == documents.lastPathComponent
      || fileType(documents.appendingPathComponent(name)) != nil
  }

  private func lastComponent(_ id: String) -> String { id.split(separator: "/").last.map(String.init) ?? id }
}

/// Runs one step of a loop. What Apple's Foundation autoreleases in it would else stay until the loop ends: of a file
/// that is read, all of it.
private func releasing<T>(_ step: () throws -> T) rethrows -> T {
  #if canImport(ObjectiveC)
    return try autoreleasepool(invoking: step)
  #else
    return try step()
  #endif
}

/// Models can be had again: they would fill a person's backups.
func excludeFromBackup(_ folder: URL) {
  var url = folder
  var values = URLResourceValues()
  values.isExcludedFromBackup = true
  try? url.setResourceValues(values)
}
