import Foundation

/// Remembers which bundles' hashes were checked, so that a model is read once and not at each start. A bundle is known
/// by the sizes, times and expected hashes of its files: if one changes, it counts as unchecked. `file` is a copy for
/// the next start: where it cannot be written, as on a full device, what is known holds until then. Any thread.
public final class HashLedger: @unchecked Sendable {
  private struct Outcome: Codable {
    var identity: String
    var wrong: String?
  }

  private let file: URL
  private let lock = NSLock()
  private var known: [String: Outcome]

  public init(file: URL) {
    self.file = file
    known = (try? JSONDecoder().decode([String: Outcome].self, from: Data(contentsOf: file))) ?? [:]
  }

  public func state(_ bundle: ModelBundle) -> HashState {
    let identity = identity(bundle)
    guard let outcome = lock.withLock({ known[key(bundle.folder)] }), outcome.identity == identity else {
      return .unchecked
    }
    return outcome.wrong.map { .wrong(file: $0) } ?? .checked
  }

  /// Keeps the outcome of a check; `wrong` is the file whose hash differs, nil if none does.
  public func record(_ bundle: ModelBundle, wrong: String?) {
    let outcome = Outcome(identity: identity(bundle), wrong: wrong)
    change { $0[key(bundle.folder)] = outcome }
  }

  public func forget(_ folder: URL) { change { $0[key(folder)] = nil } }

  /// Changes if a file of the bundle does, or what is expected of it.
  public func identity(_ bundle: ModelBundle) -> String {
    bundle.manifest.files.sorted { $0.key < $1.key }.map { name, entry in
      let path = bundle.folder.appendingPathComponent(name).path
      let attributes = (try? FileManager.default.attributesOfItem(atPath: path)) ?? [:]
      let size = (attributes[.size] as? NSNumber)?.int64Value ?? -1
      let time = (attributes[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
      return "\(name) \(size) \(time) \(entry.sha256)"
    }.joined(separator: "\n")
  }

  /// The name alone: an update of the app moves its folders to another path.
  private func key(_ folder: URL) -> String { folder.lastPathComponent }

  private func change(_ edit: (inout [String: Outcome]) -> Void) {
    lock.withLock {
      edit(&known)
      // A full disk costs another check at the next start, nothing else.
      try? JSONEncoder().encode(known).write(to: file, options: .atomic)
    }
  }
}
