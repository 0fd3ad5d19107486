import Foundation

/// The tokenizer of the bundle that was asked for last. One only: a large vocabulary is megabytes.
final class TokenizerCache: @unchecked Sendable {
  private let open: @Sendable (ModelBundle) -> Tokenizer
  private let lock = NSLock()
  private var last: (bundle: ModelBundle, tokenizer: Tokenizer)?

  init(_ open: @escaping @Sendable (ModelBundle) -> Tokenizer) { self.open = open }

  /// Reads the file the first time, which takes a second or more: not for the main thread.
  func tokenizer(_ bundle: ModelBundle) -> Tokenizer {
    lock.withLock {
      if let last, last.bundle == bundle { return last.tokenizer }
      let tokenizer = open(bundle)
      last = (bundle, tokenizer)
      return tokenizer
    }
  }
}
