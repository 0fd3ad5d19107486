import Foundation

/// Whether an import was cancelled. Any thread.
final class ImportCancellation: @unchecked Sendable {
  private let lock = NSLock()
  private let ended: @Sendable () -> Void
  private var flag = false

  /// `ended` interrupts what the import waits for.
  init(_ ended: @escaping @Sendable () -> Void) { self.ended = ended }

  var isCancelled: Bool { lock.withLock { flag } }

  func cancel() {
    lock.withLock { flag = true }
    ended()
  }

  func check() throws { if isCancelled { throw CancellationError() } }
}

/// Apple's code for "a person cancelled it" is a coordinator's, too.
func isCancellation(_ error: any Error) -> Bool {
  let system = error as NSError
  return error is CancellationError || system.domain == NSCocoaErrorDomain && system.code == 3072
}
