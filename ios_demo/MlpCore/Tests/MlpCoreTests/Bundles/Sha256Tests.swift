import MlpFixtures
import XCTest

@testable import MlpCore

final class Sha256Tests: XCTestCase {
  /// Lengths around the block's and the padding's, of bytes 7 i + 3; by Python's hashlib.
  private let expected = [
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "084fed08b978af4d7d196a7446a86b58009e636b611db16211b65a9aadff29c5",
    55: "e7313d333c272e639f790978283f9eb392e843d0f29b7016828bb1daa4aac70b",
    56: "4324d65f3c103567f5589c710bc08f8523f929a9272e3af36fc968e52abc6c27",
    57: "35df609437dcfea3279283ab79fd554e2bf78f8f7ae2de532d8ee300b09e8f73",
    63: "81c80242132f230c3bd41b3e63bbcff16107339549214a99614ff26664625055",
    64: "39e3d7b6b5d075d37d053ad89b24b41bef4f3c29760c84447cab3f3be1882241",
    65: "aacca6ff74fdbb296d165a45cecfa04e5127bc008770fbbdd48006f2d2fae95e",
    119: "9ce7368e4daf32341631b492e80359dc9f594b48453cd0dd5bf0b19279cc177e",
    120: "7836b787757e95e58b3ca5aec90b1b004e8deba1e50e9675af9cabf1a13a04b5",
    1000: "1e9bc38cbf860b9ec31918b065f9b52476c549a782e0e7990bed8ce3868d2371",
  ]

  func testData() {
    for (count, hash) in expected {
      let data = Data((0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + 3) })
      XCTAssertEqual(sha256(of: data), hash, "\(count) bytes")
    }
  }

  func testPlainSwiftInStepsOfAnySize() {
    for (count, hash) in expected {
      let data = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + 3) }
      for step in [1, 13, 64, 65, 128] {
        var plain = PlainSha256()
        for start in stride(from: 0, to: count, by: step) {
          data[start..<min(start + step, count)].withUnsafeBytes { plain.update($0) }
        }
        let found = plain.finish().map { String(format: "%02x", $0) }.joined()
        XCTAssertEqual(found, hash, "\(count) bytes, \(step) at a time")
      }
    }
  }

  func testAFileOfSeveralReads() throws {
    let temporary = try TemporaryFolder()
    let file = temporary.url.appendingPathComponent("file")
    try Data((0..<(2 << 20 + 17)).map { UInt8($0 % 251) }).write(to: file)
    var steps: [Int] = []
    let hash = try sha256(of: file) { steps.append($0) }
    XCTAssertEqual(hash, "b057f26faa652e9916aa08eed7e50906151f83de0e878173e9d06e359c0dd75e")
    XCTAssertEqual(steps, [1 << 20, 1 << 20, 17])
    XCTAssertNotNil(thrown(FileError.self) { try sha256(of: temporary.url) }, "a folder")
  }
}
