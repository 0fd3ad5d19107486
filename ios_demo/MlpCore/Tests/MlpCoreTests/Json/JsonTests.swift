import XCTest

@testable import MlpCore

final class JsonTests: XCTestCase {
  func testValues() throws {
    let json = try Json.parse(
      #" { "a" : [ 1 , -2.5e1, true,false , null ], "b": {"c": "x"}, "": [], "d": {} } "# + "\n\r\t")
    XCTAssertEqual(
      json, ["a": [1, -25, true, false, nil], "b": ["c": "x"], "": .array([]), "d": .object(JsonObject())])
    XCTAssertEqual(json.asObject?.keys, ["a", "b", "", "d"])
    XCTAssertEqual(json["b"]?["c"]?.asString, "x")
    XCTAssertNil(json["c"])
    XCTAssertNotEqual(json, ["a": 1])
    XCTAssertEqual(["a": 1, "b": 2] as Json, ["b": 2, "a": 1], "in whatever order")
  }

  func testNumbers() throws {
    let integers: [(String, Int64)] = [
      ("0", 0), ("-0", 0), ("7", 7), ("2048.0", 2048), ("2e3", 2000), ("120e-1", 12), ("0e64", 0),
      ("9223372036854775807", .max), ("-9223372036854775808", .min), ("9007199254740993", 9_007_199_254_740_993),
    ]
    for (text, value) in integers {
      XCTAssertEqual(try Json.parse(text), .integer(value), text)
    }
    let doubles = [
      ("2.5", 2.5), ("-1.5E-3", -0.0015), ("9223372036854775808", 9_223_372_036_854_775_808), ("1e64", 1e64),
      ("25e-1", 2.5), ("1e-400", 0),
    ]
    for (text, value) in doubles { XCTAssertEqual(try Json.parse(text), .double(value), text) }
    for text in ["1e999999999", "1e65", "1e-401", String(repeating: "9", count: 65), "1e99999999999999999999"] {
      let error = thrown(JsonError.self) { try Json.parse("{\"a\": \(text)}") }
      XCTAssertEqual(error?.key, "a")
      XCTAssertTrue(error?.problem.hasSuffix("is no number that is read here") ?? false, text)
    }
  }

  func testWhatIsNoJson() {
    let texts = [
      "", " ", "{", "[1", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}", "\"a", "\"\\x\"",
      "\"\\u12g4\"", "\"\\u12", "\"a\nb\"", "\"\u{1}\"", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "NaN",
      "Infinity", "-Infinity", "nul", "True", "1 2", "// a\n1", "1 // a", "\u{FEFF}1", "\u{A0}1", "{\"a\":1 \"b\":2}",
      "[1 2]", "]", "{]",
    ]
    for text in texts {
      let error = thrown(JsonError.self) { try Json.parse(text) }
      XCTAssertEqual(error?.key, "", text)
      XCTAssertFalse(error?.problem.isEmpty ?? true)
    }
    XCTAssertEqual(
      thrown(JsonError.self) { try Json.parse("{\n  \"a\": x}") }?.problem,
      "this is no JSON: line 2, column 8 has another character, expected a value")
  }

  func testStrings() throws {
    let escaped = try Json.parse(#""\"\\\/\b\f\n\r\t\u00e4\uD83D\uDE42\u0000""#).asString
    assertBytes(try XCTUnwrap(escaped), "\"\\/\u{8}\u{C}\n\r\tä🙂\u{0}")
    for half in [#"\ud83d"#, #"\ude42"#, #"\ud83d\u0061"#, #"\ude42\ud83d"#] {
      let text = try XCTUnwrap(try Json.parse("\"\(half)\"").asString)
      XCTAssertTrue(text.hasPrefix("\u{FFFD}"), half)
    }
    assertBytes(try XCTUnwrap(try Json.parse(#""\ud83d\ud83d\ude42""#).asString), "\u{FFFD}🙂")
  }

  func testKeysAreComparedByteByByte() throws {
    let error = thrown(JsonError.self) { try Json.parse(#"{"a": {"b": 1, "c": [{"\u0062": 1, "b": 2}]}}"#) }
    XCTAssertEqual(error, JsonError("a.c[0].b", "the key is there twice"))
    let both = try Json.parse("{\"\u{E9}\": 1, \"e\u{301}\": 2}")
    XCTAssertEqual(both["\u{E9}"], 1)
    XCTAssertEqual(both["e\u{301}"], 2)
  }

  func testDepthHasALimit() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    XCTAssertNoThrow(try Json.parse(nested(64)))
    XCTAssertEqual(thrown(JsonError.self) { try Json.parse(nested(65)) }?.problem, "is nested deeper than 64 levels")
    XCTAssertNotNil(thrown(JsonError.self) { try Json.parse(String(repeating: "{\"a\":", count: 100_000)) })
  }

  func testALongKeyIsNotCopiedForEachValueInIt() throws {
    let key = String(repeating: "k", count: 1 << 20)
    let start = ProcessInfo.processInfo.systemUptime
    let json = try Json.parse("{\"\(key)\": [\(Array(repeating: "0", count: 40_000).joined(separator: ","))]}")
    XCTAssertEqual(json[key]?.asArray?.count, 40_000)
    XCTAssertLessThan(ProcessInfo.processInfo.systemUptime - start, 2, "copies would be 40 GB")
  }

  func testMembersCanBeSetAndRemoved() {
    var object: JsonObject = ["a": 1, "b": 2]
    object["a"] = 3
    object["c"] = nil
    XCTAssertEqual(object.keys, ["a", "b"])
    XCTAssertEqual(object["a"], 3)
    object["a"] = nil
    XCTAssertEqual(object.keys, ["b"])
    XCTAssertNil(object["a"])
  }

  func testWhatIsWrittenIsRead() throws {
    let json: Json = [
      "text": "\"\\/\u{0}\u{8}\u{1F}\n\r\tä🙂\u{2028}\r\n", "numbers": [0, -1.5, 1e-7, 10.0, 1e30, .integer(.min)],
      "e\u{301}": [true, false, nil], "none": .object(JsonObject()),
    ]
    let text = json.encoded()
    XCTAssertFalse(text.unicodeScalars.contains("\n"), "one line")
    let again = try Json.parse(text)
    XCTAssertEqual(again["text"], json["text"])
    XCTAssertEqual(again["numbers"]?.asArray?.map(\.asDouble), [0, -1.5, 1e-7, 10, 1e30, Double(Int64.min)])
    XCTAssertEqual(again["e\u{301}"], json["e\u{301}"])
    XCTAssertEqual(again["none"], json["none"])
    XCTAssertEqual(Json.array([.double(.nan), .double(.infinity)]).encoded(), "[null,null]")
    XCTAssertEqual((["b": [1, "\u{1}"], "a": 0.5] as Json).encoded(), #"{"b":[1,"\u0001"],"a":0.5}"#)
  }

  func testFields() throws {
    let json: Json = [
      "int": 7, "long": .integer(1 << 53), "text": "x", "null": nil, "list": ["a", 1], "ints": [1, -1],
      "inner": ["a": 1.5, "b": true],
    ]
    let fields = JsonFields(try XCTUnwrap(json.asObject), path: "at")
    XCTAssertEqual(try fields.int("int", atLeast: 7), 7)
    XCTAssertEqual(try fields.stringOrNull("null"), nil)
    XCTAssertEqual(try fields.fields("inner").doubleOrNull("a"), 1.5)
    func problem<T>(_ read: (JsonFields) throws -> T) -> String? {
      thrown(JsonError.self) { try read(fields) }?.description
    }
    XCTAssertEqual(problem { try $0.int("int", atLeast: 8) }, "at.int: is 7, expected an integer from 8 to 2147483647")
    XCTAssertEqual(
      problem { try $0.int64("long", atLeast: 0) },
      "at.long: is 9007199254740992, expected an integer from 0 to 9007199254740991")
    XCTAssertEqual(problem { try $0.int("gone", atLeast: 8) }, "at.gone: is missing")
    XCTAssertEqual(problem { try $0.string("null") }, "at.null: is null, expected text")
    XCTAssertEqual(problem { try $0.bool("int") }, "at.int: is 7, expected true or false")
    XCTAssertEqual(problem { try $0.strings("list") }, "at.list: is [\"a\",1], expected texts")
    XCTAssertEqual(problem { try $0.ints("text", atLeast: 0) }, "at.text: is \"x\", expected a list")
    XCTAssertNotNil(problem { try $0.ints("ints", atLeast: 0) })
    XCTAssertEqual(problem { try $0.list("list") }, "at.list: is [\"a\",1], expected objects")
    XCTAssertEqual(
      problem { try $0.fields("inner").string("b") }, "at.inner.b: is true, expected text or null")
    let inner = try fields.fields("inner")
    _ = try inner.bool("b")
    XCTAssertEqual(
      thrown(JsonError.self) { try inner.refuseOthers() }, JsonError("at.inner.a", "the key is not known"))
    _ = try inner.doubleOrNull("a")
    XCTAssertNoThrow(try inner.refuseOthers())
  }
}
