import Foundation

/// What is known of a bundle's hashes.
public enum HashState: Equatable, Sendable {
  case unchecked
  case checked
  case wrong(file: String)
}

/// One folder that is, or should be, a bundle.
public enum BundleEntry: Equatable, Sendable {
  case usable(ModelBundle, HashState)
  /// Files of a bundle without manifest.json, which is copied last.
  case incomplete(URL)
  case broken(URL, BundleError)

  public var folder: URL {
    switch self {
    case .usable(let bundle, _): bundle.folder
    case .incomplete(let folder), .broken(let folder, _): folder
    }
  }

  public var name: String { folder.lastPathComponent }

  public var bundle: ModelBundle? {
    if case .usable(let bundle, _) = self { bundle } else { nil }
  }

  public var hashes: HashState? {
    if case .usable(_, let hashes) = self { hashes } else { nil }
  }
}
