import MlpFixtures
import XCTest

@testable import MlpCore

final class BenchPlanTests: XCTestCase {
  func testPlansOfTheVectors() throws {
    let cases = try vectors("bench.json").list("plans")
    XCTAssertGreaterThan(cases.count, 10)
    for values in cases {
      let (name, text) = (try values.string("name"), try values.string("text"))
      if try values.bool("valid") {
        XCTAssertEqual(try BenchPlan.parse(text).json, try Json.parse(text), name)
      } else {
        XCTAssertThrowsError(try BenchPlan.parse(text), name) { XCTAssertTrue($0 is JsonError, "\(name): \($0)") }
      }
    }
  }

  func testABadPlanIsToldByItsKey() {
    let plan = #"{"format": 1, "id": "a", "bundle": "b", "prompt_tokens": [0], "new_tokens": 1, "repetitions": 1}"#
    XCTAssertThrowsError(try BenchPlan.parse(plan)) { error in
      XCTAssertEqual((error as? JsonError)?.key, "prompt_tokens")
    }
  }

  func testTheIdOfABadPlan() {
    XCTAssertEqual(BenchPlan.id(of: #"{"id": "a-1", "new_tokens": 0}"#), "a-1")
    for text in ["", "[]", "{}", #"{"id": 1}"#, #"{"id": "../x"}"#, #"{"id": "a"#, #"{"id": "-a"}"#, #"{"id": "ä"}"#] {
      XCTAssertNil(BenchPlan.id(of: text), text)
    }
  }
}
