import Foundation
import XCTest

/// A folder that is gone after the test.
func temporaryFolder(of test: XCTestCase) throws -> URL {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  test.addTeardownBlock { try FileManager.default.removeItem(at: folder) }
  return folder
}
