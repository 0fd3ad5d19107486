import MlpFixtures
import XCTest

@testable import MlpCore

final class DeviceFitTests: XCTestCase {
  func testFitsOfTheVectors() throws {
    let cases = try vectorCases("device_fit_ios.json")
    XCTAssertGreaterThan(cases.count, 30)
    var kinds: Set<DeviceFit.Kind> = []
    for values in cases {
      let name = try values.string("name")
      let manifest = try Manifest.parse(Json.object(try values.fields("manifest").json).encoded())
      let fit = deviceFit(manifest, try device(values.fields("device")))
      XCTAssertEqual(fit.reasons, try reasons(values, "reasons"), name)
      XCTAssertEqual(fit.warnings, try reasons(values, "warnings"), name)
      XCTAssertEqual(fit.runs, fit.reasons.isEmpty, name)
      kinds.formUnion((fit.reasons + fit.warnings).map(\.kind))
    }
    XCTAssertEqual(kinds, Set(DeviceFit.Kind.allCases), "each kind has a case")
  }

  private func device(_ json: JsonFields) throws -> Device {
    Device(
      systemVersion: try json.string("system_version"), isSimulator: try json.bool("is_simulator"),
      totalMemoryBytes: try json.int64("total_memory_bytes", atLeast: 0),
      availableMemoryBytes: try json.int64("available_memory_bytes", atLeast: 0),
      runtimes: try json.stringMap("runtimes"), backends: Set(try json.strings("backends")))
  }

  private func reasons(_ json: JsonFields, _ key: String) throws -> [DeviceFit.Reason] {
    try json.list(key).map { reason in
      DeviceFit.Reason(
        kind: try XCTUnwrap(DeviceFit.Kind(rawValue: reason.string("kind"))), found: try reason.string("found"),
        expected: try reason.string("expected"))
    }
  }

  func testOrderOfVersions() {
    let ordered = [
      ("1.3.1", "1.5"), ("1.5", "1.5.1"), ("1.9", "1.10"), ("17.7.2", "18"), ("1.5.0a0+cpu", "1.5.1"), ("", "1"),
      ("v2.44.9.260810104044", "2.45"), ("1.5", "1.99999999999999999999"), ("x3", "0.1"), ("1.", "1.1"),
    ]
    for (one, other) in ordered {
      XCTAssertTrue(isOlder(one, than: other), "\(one) before \(other)")
      XCTAssertFalse(isOlder(other, than: one), "\(other) after \(one)")
    }
    let same = [("18", "18.0.0"), ("1.5.1+cpu", "1.5.1"), ("v2.49.40.1", "2.49.40.2"), ("", "x"), ("1..2", "1")]
    for (one, other) in same {
      XCTAssertFalse(isOlder(one, than: other), "\(one) as \(other)")
      XCTAssertFalse(isOlder(other, than: one), "\(one) as \(other)")
    }
  }
}
