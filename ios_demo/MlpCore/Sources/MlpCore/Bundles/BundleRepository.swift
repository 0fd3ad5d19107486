import Foundation

/// The bundles in Documents, where Finder, Files and `mlp-export push` put them: a folder each, or one whose files lie
/// in Documents itself, since a copied folder may arrive flattened. Every call looks at the disk anew. Any thread.
public struct BundleRepository: Sendable {
  public static let manifest = "manifest.json"
  public static let partial = ".partial"

  /// Folders of Documents that are no bundles: results of benchmarks, and what other apps handed over.
  public static let reserved: Set<String> = ["bench", "Inbox"]

  /// What a bundle may hold; only these are looked for, and deleted, where no manifest names the files.
  static let known = [
    "model.pte", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "encodings.json", "LICENSE",
  ]

  public let documents: URL
  private let ledger: HashLedger

  public init(documents: URL, ledger: HashLedger) {
    self.documents = documents
    self.ledger = ledger
  }

  /// All bundles by name, those that cannot be used last. Throws where Documents cannot be listed.
  public func list() throws -> [BundleEntry] {
    let names = try FileManager.default.contentsOfDirectory(atPath: documents.path).sorted()
    let folders = names.filter { isBundleName($0) && fileType(child($0)) != .typeRegular }
    var entries = folders.map { entry(at: child($0)) }
    // A folder of Documents' own name would have the flattened bundle's, by which conversations know it.
    if isFlattened(names), !names.contains(documents.lastPathComponent) { entries.append(entry(at: documents)) }
    return entries.sorted { one, other in
      if (one.bundle == nil) != (other.bundle == nil) { return one.bundle != nil }
      return one.name.lowercased() < other.name.lowercased()
    }
  }

  /// The bundle of that name as it lies there now; nil where there is none that can be opened.
  public func find(_ name: String) -> ModelBundle? {
    (try? list())?.first { $0.name == name }?.bundle
  }

  /// Deletes a bundle; false if files of it are still there. Of a flattened one only its own files.
  public func delete(_ entry: BundleEntry) -> Bool {
    var gone = true
    // The manifest goes first: a folder that is half deleted is then no bundle. A link's is another folder's.
    if fileType(entry.folder) != .typeSymbolicLink {
      gone = remove(entry.folder.appendingPathComponent(Self.manifest))
    }
    if isDocuments(entry.folder) {
      for name in entry.bundle.map({ Array($0.manifest.files.keys) }) ?? Self.known {
        gone = remove(entry.folder.appendingPathComponent(name)) && gone
      }
    } else {
      gone = remove(entry.folder)
    }
    if gone { ledger.forget(entry.folder) }  // what is still there is still known
    return gone
  }

  /// Bytes of the files that `delete` removes.
  public func bytes(of entry: BundleEntry) -> Int64 {
    let names =
      isDocuments(entry.folder)
      ? (entry.bundle.map { Array($0.manifest.files.keys) } ?? Self.known) + [Self.manifest]
      : (try? FileManager.default.contentsOfDirectory(atPath: entry.folder.path)) ?? []
    return names.reduce(0) { $0 + fileSize(entry.folder.appendingPathComponent($1)) }
  }

  private func entry(at folder: URL) -> BundleEntry {
    if fileType(folder) == .typeSymbolicLink {
      return .broken(folder, BundleError(.symbolicLink, folder.lastPathComponent))
    }
    do {
      let bundle = try ModelBundle.open(folder)
      return .usable(bundle, ledger.state(bundle))
    } catch let error as BundleError {
      let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
      let hasFiles = names.contains(where: Self.known.contains)
      return error.problem == .notABundle && hasFiles ? .incomplete(folder) : .broken(folder, error)
    } catch {
      return .broken(folder, BundleError(.unreadable, "\(error)"))
    }
  }

  private func isBundleName(_ name: String) -> Bool {
    !name.hasPrefix(".") && !name.hasSuffix(Self.partial) && !Self.reserved.contains(name)
  }

  private func isFlattened(_ names: [String]) -> Bool {
    names.contains(Self.manifest) || names.contains("model.pte")
  }

  private func isDocuments(_ folder: URL) -> Bool {
    folder.standardizedFileURL.path == documents.standardizedFileURL.path
  }

  private func child(_ name: String) -> URL { documents.appendingPathComponent(name) }

  /// True if nothing is there afterwards. Of a symbolic link the link is removed, never what it leads to.
  private func remove(_ url: URL) -> Bool {
    try? FileManager.default.removeItem(at: url)
    return fileType(url) == nil
  }
}

/// What is at `url`, a symbolic link being one; nil where there is nothing.
func fileType(_ url: URL) -> FileAttributeType? {
  (try? FileManager.default.attributesOfItem(atPath: url.path))?[.type] as? FileAttributeType
}

func fileSize(_ url: URL) -> Int64 {
  let size = (try? FileManager.default.attributesOfItem(atPath: url.path))?[.size] as? NSNumber
  return size?.int64Value ?? 0
}
