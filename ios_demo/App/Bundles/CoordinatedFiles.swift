import MlpCore
import UIKit

/// Reads what the system's picker gave: inside its security scope, and coordinated, so that a file provider downloads
/// what is not on the device. For one import.
final class CoordinatedFiles: FileAccess, @unchecked Sendable {
  private let lock = NSLock()
  private var coordinator: NSFileCoordinator?
  private var isCancelled = false

  func withAccess<T>(to urls: [URL], _ body: () throws -> T) throws -> T {
    // False for files that need no scope: those that cannot be read say so when they are read.
    let opened = urls.filter { $0.startAccessingSecurityScopedResource() }
    defer { opened.forEach { $0.stopAccessingSecurityScopedResource() } }
    return try body()
  }

  func read<T>(_ url: URL, _ body: (URL) throws -> T) throws -> T {
    let coordinator = NSFileCoordinator(filePresenter: nil)
    try lock.withLock {
      if isCancelled { throw CancellationError() }
      self.coordinator = coordinator
    }
    defer { lock.withLock { self.coordinator = nil } }
    var problem: NSError?
    var result: Result<T, any Error>?
    coordinator.coordinate(readingItemAt: url, options: [], error: &problem) { place in
      result = Result { try body(place) }
    }
    if let result { return try result.get() }
    throw problem ?? CocoaError(.fileReadUnknown)
  }

  func cancel() {
    let waiting = lock.withLock {
      isCancelled = true
      return coordinator
    }
    waiting?.cancel()
  }
}
