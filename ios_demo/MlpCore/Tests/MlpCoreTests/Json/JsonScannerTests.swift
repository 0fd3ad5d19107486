import XCTest

@testable import MlpCore

final class JsonScannerTests: XCTestCase {
  private func scan<Result>(_ text: String, _ read: (inout JsonScanner) throws -> Result) throws -> Result {
    try Array(text.utf8).withUnsafeBufferPointer { bytes in
      var scanner = JsonScanner(bytes)
      let result = try read(&scanner)
      try scanner.end()
      return result
    }
  }

  func testIntegers() throws {
    for (text, value) in [("0", 0), (" 7 ", 7), ("2147483647", 2_147_483_647)] {
      XCTAssertEqual(value, try scan(text) { try $0.int() })
    }
    for text in ["", "-1", "1.0", "1e3", "01", "2147483648", "99999999999999999999999", "\"1\"", "true"] {
      XCTAssertThrowsError(try scan(text) { try $0.int() }, text) { XCTAssertTrue($0 is JsonError) }
    }
  }

  func testMembersAndElements() throws {
    var found: [String] = []
    try scan(#" { "a" : [ 1 , 2 ] , "\u00e9\n\ud83d\ude42" : { } , "c" : [] } "#) { scanner in
      try scanner.object { scanner, key in
        found.append(String(decoding: key, as: UTF8.self))
        if try scanner.kind() == .array {
          try scanner.array { found.append("\(try $0.int())") }
        } else {
          try scanner.object { _, _ in XCTFail("a member") }
        }
      }
    }
    XCTAssertEqual(["a", "1", "2", "é\n🙂", "c"], found)
  }

  func testSkips() throws {
    for value in [#"{"a":[1,{"b":"]}\"\\"}]}"#, #""\"""#, "-1.5e+3", "true", "false", "null", "[]", "{}"] {
      XCTAssertEqual(
        7,
        try scan("[\(value), 7]") { scanner in
          var count = 0
          var last = 0
          try scanner.array { scanner in
            if count == 0 { try scanner.skip() } else { last = try scanner.int() }
            count += 1
          }
          return last
        }, value)
    }
    let deep = String(repeating: "[", count: 100_000)
    for value in ["", "[", "[1", "[1,]", "{\"a\"}", "{1:2}", "\"", "\"\\", "\"a\\\"", deep, "]"] {
      XCTAssertThrowsError(try scan(value) { try $0.skip() }, String(value.prefix(20))) {
        XCTAssertTrue($0 is JsonError)
      }
    }
  }

  func testACopyGoesOnFromWhereItWas() throws {
    try scan("[[1, 2], 3]") { scanner in
      var later: JsonScanner?
      try scanner.array { scanner in
        if later == nil { later = scanner }
        try scanner.skip()
      }
      var found: [Int] = []
      try later?.array { found.append(try $0.int()) }
      XCTAssertEqual([1, 2], found)
    }
  }
}
