import MlpFixtures
import XCTest

@testable import MlpCore

final class EngineFailuresTests: XCTestCase {
  func testErrorCodes() throws {
    let cases = try vectorCases("error_codes.json")
    XCTAssertGreaterThan(cases.count, 20)
    for vector in cases {
      let code = Int(try XCTUnwrap(try vector.doubleOrNull("code")))
      for domain in ["org.pytorch.executorch.llm.error", "org.pytorch.executorch.error"] {
        let failure = engineFailure(code: code, domain: domain, message: try vector.string("message"))
        let name = try vector.string("name")
        XCTAssertEqual(failure.kind.rawValue, try vector.string("kind"), name)
        XCTAssertEqual(failure.code.map(Double.init), try vector.doubleOrNull("kept_code"), name)
        XCTAssertEqual(failure.detail, try vector.string("message"), name)
      }
    }
  }

  func testWhatTextRunnerCannotCreate() {
    let failure = engineFailure(
      code: -1, domain: "org.pytorch.executorch.llm.error", message: "Failed to create runner")
    XCTAssertEqual(failure, EngineFailure(kind: .notAProgram, code: -1, detail: "Failed to create runner"))
    let other = engineFailure(code: -1, domain: "org.pytorch.executorch.llm.error", message: "Special tokens must ...")
    XCTAssertEqual(other.kind, .unknown)
  }

  func testErrorsOfAnotherDomainKeepTheirNumber() {
    let failure = engineFailure(code: 0x21, domain: "NSCocoaErrorDomain", message: "no")
    XCTAssertEqual(failure, EngineFailure(kind: .unknown, code: 0x21, detail: "no"))
  }
}
