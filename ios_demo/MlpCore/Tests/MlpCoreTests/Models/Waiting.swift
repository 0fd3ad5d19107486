import MlpCore
import XCTest

/// Lets the main queue run until `isTrue`; fails after ten seconds.
@MainActor
func until(_ what: String, file: StaticString = #filePath, line: UInt = #line, _ isTrue: () -> Bool) async {
  for _ in 0..<5000 {
    if isTrue() { return }
    try? await Task.sleep(for: .milliseconds(2))
  }
  XCTFail("no \(what)", file: file, line: line)
}
