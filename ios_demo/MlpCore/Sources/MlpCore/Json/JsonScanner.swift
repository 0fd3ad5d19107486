/// Walks over JSON in place and builds nothing: for files that are too large for a tree of values. The bytes are valid
/// UTF-8, and outlive the scanner; a copy of it goes on from where it is. Throws `JsonError` for what is no JSON.
struct JsonScanner {
  enum Kind { case object, array, string, number, bool, null }

  private static let deepest = 64  // of our files, the deepest has six levels

  let bytes: UnsafeBufferPointer<UInt8>
  var at = 0
  private var depth = 0

  init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  /// What the next value is.
  mutating func kind() throws -> Kind {
    skipSpace()
    guard at < bytes.count else { throw notJson("a value") }
    switch bytes[at] {
    case UInt8(ascii: "{"): return .object
    case UInt8(ascii: "["): return .array
    case UInt8(ascii: "\""): return .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
    case UInt8(ascii: "n"): return .null
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
    default: throw notJson("a value")
    }
  }

  /// Reads an object; `member` is called with each key, and has to read or skip its value.
  mutating func object(_ member: (inout JsonScanner, _ key: [UInt8]) throws -> Void) throws {
    var key: [UInt8] = []
    try nested("{", "}") { scanner in
      key.removeAll(keepingCapacity: true)
      try scanner.string(into: &key)
      guard scanner.take(":") else { throw scanner.notJson("\":\"") }
      try member(&scanner, key)
    }
  }

  /// Reads an array; `element` has to read or skip one value.
  mutating func array(_ element: (inout JsonScanner) throws -> Void) throws { try nested("[", "]", element) }

  /// Appends the text that is next.
  mutating func string(into text: inout [UInt8]) throws {
    guard take("\"") else { throw notJson("a text in quotes") }
    var start = at  // of what is not in `text` yet
    while at < bytes.count {
      let byte = bytes[at]
      if byte == UInt8(ascii: "\"") {
        text.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start..<at]))
        at += 1
        return
      }
      if byte == UInt8(ascii: "\\") {
        text.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start..<at]))
        Utf8.append(try escape(), to: &text)
        start = at
      } else if byte < 0x20 {
        throw notJson("no control character in a text")
      } else {
        at += 1
      }
    }
    throw notJson("the quote that ends a text")
  }

  /// The integer from 0 to 2^31 - 1 that is next.
  mutating func int() throws -> Int {
    guard try kind() == .number else { throw notJson("a number") }
    let start = at
    var value = 0
    while at < bytes.count, let digit = digit(at), value <= Int32.max {
      value = value * 10 + digit
      at += 1
    }
    let isPlain = at > start && (at - start == 1 || bytes[start] != UInt8(ascii: "0"))
    guard isPlain, value <= Int32.max, at == bytes.count || !isNumberByte(at) else {
      throw notJson("an integer from 0 to \(Int32.max)")
    }
    return value
  }

  /// Leaves the next value out. Numbers and words are not looked at closely.
  mutating func skip() throws {
    switch try kind() {
    case .object: try object { scanner, _ in try scanner.skip() }
    case .array: try array { try $0.skip() }
    case .string: try skipString()
    case .number: while at < bytes.count, isNumberByte(at) { at += 1 }
    case .bool, .null: while at < bytes.count, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(bytes[at]) { at += 1 }
    }
  }

  /// Throws where more follows.
  mutating func end() throws {
    skipSpace()
    if at < bytes.count { throw JsonError("", "there is more after the JSON value") }
  }
}

extension JsonScanner {
  private mutating func nested(
    _ open: Unicode.Scalar, _ close: Unicode.Scalar, _ element: (inout JsonScanner) throws -> Void
  ) throws {
    guard take(open) else { throw notJson("\"\(open)\"") }
    guard depth < Self.deepest else { throw JsonError("", "is nested deeper than \(Self.deepest) levels") }
    depth += 1
    defer { depth -= 1 }
    if take(close) { return }
    repeat { try element(&self) } while take(",")
    guard take(close) else { throw notJson("\",\" or \"\(close)\"") }
  }

  private mutating func skipString() throws {
    at += 1
    while at < bytes.count, bytes[at] != UInt8(ascii: "\"") { at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1 }
    guard at < bytes.count else {
      at = bytes.count  // an escape may have led beyond
      throw notJson("the quote that ends a text")
    }
    at += 1
  }

  private mutating func skipSpace() {
    while at < bytes.count, bytes[at] <= 0x20, isSpace(bytes[at]) { at += 1 }
  }

  private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }

  private func digit(_ index: Int) -> Int? {
    let value = Int(bytes[index]) - 0x30
    return (0...9).contains(value) ? value : nil
  }

  private func isNumberByte(_ index: Int) -> Bool {
    digit(index) != nil || [UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: ".")].contains(bytes[index])
      || bytes[index] | 0x20 == UInt8(ascii: "e")
  }

  /// Skips `character` and the white space before it, if it is next.
  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard at < bytes.count, bytes[at] == UInt8(ascii: character) else { return false }
    at += 1
    return true
  }

  /// The scalar of an escape. Half of a surrogate pair, which has no UTF-8, becomes U+FFFD.
  private mutating func escape() throws -> UInt32 {
    at += 1
    guard at < bytes.count else { throw notJson("an escape") }
    at += 1
    switch bytes[at - 1] {
    case UInt8(ascii: "\""): return 0x22
    case UInt8(ascii: "\\"): return 0x5C
    case UInt8(ascii: "/"): return 0x2F
    case UInt8(ascii: "b"): return 0x08
    case UInt8(ascii: "f"): return 0x0C
    case UInt8(ascii: "n"): return 0x0A
    case UInt8(ascii: "r"): return 0x0D
    case UInt8(ascii: "t"): return 0x09
    case UInt8(ascii: "u"): return try unicodeEscape()
    default: throw notJson("an escape")
    }
  }

  private mutating func unicodeEscape() throws -> UInt32 {
    guard let high = unit(at) else { throw notJson("four hexadecimal digits") }
    at += 4
    guard (0xD800...0xDFFF).contains(high) else { return high }
    guard high < 0xDC00, at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"), bytes[at + 1] == UInt8(ascii: "u"),
      let low = unit(at + 2), (0xDC00...0xDFFF).contains(low)
    else { return 0xFFFD }
    at += 6
    return 0x10000 + (high - 0xD800) << 10 + (low - 0xDC00)
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

  func notJson(_ expected: String) -> JsonError {
    let before = bytes[..<at]
    let line = before.count { $0 == 0x0A } + 1
    let column = at - (before.lastIndex(of: 0x0A) ?? -1)
    let found = at < bytes.count ? "another character" : "the end"
    return JsonError("", "this is no JSON: line \(line), column \(column) has \(found), expected \(expected)")
  }
}
