import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

/// Waits until `condition` holds.
@MainActor
func eventually(
  _ what: String, file: StaticString = #filePath, line: UInt = #line, _ condition: () -> Bool
) async {
  let end = Date().addingTimeInterval(10)
  while !condition() {
    if Date() > end { return XCTFail("not in time: \(what)", file: file, line: line) }
    try? await Task.sleep(nanoseconds: 2_000_000)
  }
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
    documents: root.appendingPathComponent("Documents"), support: root.appendingPathComponent("Support"), inbox: nil)
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
