import XCTest

@testable import MlpCore

final class TextsTests: XCTestCase {
  func testKeyWithoutTextIsItself() {
    XCTAssertEqual(text("no such key"), "no such key")
  }
}
