import Foundation

/// Reads RFC 8259 and nothing else. Depth and numbers have limits, so that a hostile text costs nothing.
struct JsonParser {
  private static let deepest = 64  // of our files, the deepest has six levels

  private let bytes: [UInt8]
  private var at = 0
  private var depth = 0

  init(_ text: String) { bytes = Array(text.utf8) }

  mutating func parse() throws -> Json {
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
      throw JsonError("", "this is no JSON: it begins with a byte order mark")
    }
    let value = try value("")
    skipSpace()
    if at < bytes.count { throw JsonError("", "there is more after the JSON value") }
    return value
  }

  private mutating func value(_ key: String) throws -> Json {
    skipSpace()
    guard at < bytes.count else { throw notJson("a value") }
    switch bytes[at] {
    case UInt8(ascii: "{"): return try nested(key) { try $0.object(key) }
    case UInt8(ascii: "["): return try nested(key) { try $0.array(key) }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number(key)
    default: throw notJson("a value")
    }
  }

  private mutating func nested(_ key: String, _ read: (inout JsonParser) throws -> Json) throws -> Json {
    guard depth < Self.deepest else { throw JsonError("", "is nested deeper than \(Self.deepest) levels") }
    depth += 1
    at += 1
    defer { depth -= 1 }
    return try read(&self)
  }

  private mutating func object(_ key: String) throws -> Json {
    var object = JsonObject()
    if take("}") { return .object(object) }
    repeat {
      skipSpace()
      guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw notJson("a key in quotes") }
      let name = try string()
      let inner = key.isEmpty ? name : "\(key).\(name)"
      if object[name] != nil { throw JsonError(inner.scalars(200), "the key is there twice") }
      guard take(":") else { throw notJson("\":\"") }
      object[name] = try value(inner)
    } while take(",")
    guard take("}") else { throw notJson("\",\" or \"}\"") }
    return .object(object)
  }

  private mutating func array(_ key: String) throws -> Json {
    var array: [Json] = []
    if take("]") { return .array(array) }
    repeat {
      array.append(try value("\(key)[\(array.count)]"))
    } while take(",")
    guard take("]") else { throw notJson("\",\" or \"]\"") }
    return .array(array)
  }

  private mutating func word(_ word: String, _ value: Json) throws -> Json {
    guard bytes[at...].starts(with: word.utf8) else { throw notJson("a value") }
    at += word.utf8.count
    return value
  }

  private mutating func skipSpace() {
    while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0A || bytes[at] == 0x0D || bytes[at] == 0x09 { at += 1 }
  }

  /// Skips `character` and the white space before it, if it is next.
  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard at < bytes.count, bytes[at] == UInt8(ascii: character) else { return false }
    at += 1
    return true
  }

  private func notJson(_ expected: String) -> JsonError {
    let before = bytes[..<at]
    let line = before.count { $0 == 0x0A } + 1
    let column = at - (before.lastIndex(of: 0x0A) ?? -1)
    let found = at < bytes.count ? "another character" : "the end"
    return JsonError("", "this is no JSON: line \(line), column \(column) has \(found), expected \(expected)")
  }
}

extension JsonParser {
  private mutating func string() throws -> String {
    at += 1
    var text = ""
    var start = at  // of what has no escapes, and is not in `text` yet
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""):
        text += String(decoding: bytes[start..<at], as: UTF8.self)
        at += 1
        return text
      case UInt8(ascii: "\\"):
        text += String(decoding: bytes[start..<at], as: UTF8.self)
        text.unicodeScalars.append(try escape())
        start = at
      case 0..<0x20:
        throw notJson("no control character in a text")
      default:
        at += 1
      }
    }
    throw notJson("the quote that ends a text")
  }

  /// The character of an escape. Half of a surrogate pair, which has no UTF-8, becomes U+FFFD.
  private mutating func escape() throws -> Unicode.Scalar {
    at += 1
    guard at < bytes.count else { throw notJson("an escape") }
    if let character = Self.simpleEscape(bytes[at]) {
      at += 1
      return character
    }
    guard bytes[at] == UInt8(ascii: "u"), let high = unit(at + 1) else { throw notJson("an escape") }
    at += 5
    guard (0xD800...0xDBFF).contains(high), at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"),
      bytes[at + 1] == UInt8(ascii: "u"), let low = unit(at + 2), (0xDC00...0xDFFF).contains(low)
    else { return Unicode.Scalar(high) ?? "\u{FFFD}" }
    at += 6
    return Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00)) ?? "\u{FFFD}"
  }

  private static func simpleEscape(_ letter: UInt8) -> Unicode.Scalar? {
    switch Unicode.Scalar(letter) {
    case "\"": "\""
    case "\\": "\\"
    case "/": "/"
    case "b": "\u{8}"
    case "f": "\u{C}"
    case "n": "\n"
    case "r": "\r"
    case "t": "\t"
    default: nil
    }
  }

  /// Four hexadecimal digits from `start` on.
  private func unit(_ start: Int) -> UInt32? {
    guard start + 4 <= bytes.count else { return nil }
    var value: UInt32 = 0
    for byte in bytes[start..<start + 4] {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { return nil }
      value = value << 4 | UInt32(digit)
    }
    return value
  }
}

extension JsonParser {
  private static let longestNumber = 64

  /// A number; those that only an attack would write ("1e999999999") are refused before anything computes with them.
  private mutating func number(_ key: String) throws -> Json {
    let start = at
    if bytes[at] == UInt8(ascii: "-") { at += 1 }
    let whole = digits()
    guard !whole.isEmpty, whole.count == 1 || whole.first != UInt8(ascii: "0") else { throw notJson("a number") }
    var fraction = bytes[at..<at]
    if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
      at += 1
      fraction = digits()
      guard !fraction.isEmpty else { throw notJson("a digit after the point") }
    }
    var exponent: Int? = 0
    if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
      at += 1
      let sign = at
      if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at += 1 }
      guard !digits().isEmpty else { throw notJson("the digits of an exponent") }
      exponent = Int(String(decoding: bytes[sign..<at], as: UTF8.self))
    }
    let text = String(decoding: bytes[start..<at], as: UTF8.self)
    guard at - start <= Self.longestNumber, let exponent, (-400...64).contains(exponent), let value = Double(text)
    else { throw JsonError(key.scalars(200), "\(text.prefix(40)) is no number that is read here") }
    let isNegative = bytes[start] == UInt8(ascii: "-")
    return integer(isNegative, Array(whole + fraction), exponent - fraction.count).map(Json.integer) ?? .double(value)
  }

  private mutating func digits() -> ArraySlice<UInt8> {
    let start = at
    while at < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[at]) { at += 1 }
    return bytes[start..<at]
  }

  /// `digits` times ten to the power of `exponent`, where that is a whole number that fits.
  private func integer(_ isNegative: Bool, _ digits: [UInt8], _ exponent: Int) -> Int64? {
    var digits = digits[...]
    while digits.first == UInt8(ascii: "0") { digits.removeFirst() }
    if digits.isEmpty { return 0 }
    var exponent = exponent
    while exponent < 0, digits.last == UInt8(ascii: "0") {
      digits.removeLast()
      exponent += 1
    }
    guard exponent >= 0, digits.count + exponent <= 19 else { return nil }
    let zeros = String(repeating: "0", count: exponent)
    return Int64((isNegative ? "-" : "") + String(decoding: digits, as: UTF8.self) + zeros)
  }
}
