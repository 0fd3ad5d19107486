import Foundation

/// Which model answers where a screen was not opened for one: the one that was used last, else the first that runs.
@MainActor
public final class ModelChoice {
  private let file: URL
  private var last: String?  // views ask at each change: not read from the disk each time

  public init(file: URL) {
    self.file = file
    last = (try? Data(contentsOf: file)).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Where it cannot be stored, as on a full device, the next start chooses the one before.
  public func used(_ bundle: String) {
    if bundle == last { return }
    last = bundle
    try? Data(bundle.utf8).write(to: file, options: .atomic)
  }

  /// nil where no bundle can be opened.
  public func choose(_ library: BundleLibrary) -> BundleLibrary.Item? {
    library.candidates.first { $0.entry.name == last } ?? library.candidates.first
  }
}
