import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

/// A folder that is gone after the test.
func temporaryFolder(of test: XCTestCase) throws -> URL {
  let folder = try TemporaryFolder()
  test.addTeardownBlock { withExtendedLifetime(folder) {} }
  return folder.url
}

/// Changes a bundle's manifest.json as text.
func editManifest(_ folder: URL, _ edit: (String) -> String) throws {
  let file = folder.appendingPathComponent("manifest.json")
  try Data(edit(String(decoding: Data(contentsOf: file), as: UTF8.self)).utf8).write(to: file)
}

/// Folders of an app that was just installed.
func appFolders(_ test: XCTestCase) throws -> AppFolders {
  let root = try temporaryFolder(of: test)
  let folders = AppFolders(
    documents: root.appendingPathComponent("Documents"), support: root.appendingPathComponent("Support"), inbox: nil,
    caches: root.appendingPathComponent("Caches"))
  for folder in [folders.documents, folders.support] {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }
  return folders
}

func names(in folder: URL) -> [String] {
  ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()
}

/// Files whose provider may refuse, or wait.
final class FakeAccess: FileAccess, @unchecked Sendable {
  private let lock = NSLock()
  private var problem: (any Error)?
  private var names: [String] = []
  private var isCancelled = false
  private let waits: String?
  private let cancelled = DispatchSemaphore(value: 0)
  let isWaiting = DispatchSemaphore(value: 0)

  /// `problem` is thrown when a file is read; a read of the file `waits` waits until it is cancelled.
  init(problem: (any Error)? = nil, waits: String? = nil) {
    self.problem = problem
    self.waits = waits
  }

  var scopes: [String] { lock.withLock { names } }

  func withAccess<T>(to urls: [URL], _ body: () throws -> T) throws -> T {
    lock.withLock { names += urls.map(\.lastPathComponent) }
    return try body()
  }

  func read<T>(_ url: URL, _ body: (URL) throws -> T) throws -> T {
    if let problem { throw problem }
    if url.lastPathComponent == waits {
      isWaiting.signal()
      cancelled.wait()
      throw CocoaError(.userCancelled)
    }
    return try body(url)
  }

  func cancel() { cancelled.signal() }
}
