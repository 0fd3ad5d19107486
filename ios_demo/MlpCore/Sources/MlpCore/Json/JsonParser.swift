extension Json {
  /// The value of a JSON text. Throws `JsonError` for what RFC 8259 does not allow, and for a key that is there twice.
  /// Depth and numbers have limits, so that a hostile text costs nothing.
  public static func parse(_ text: String) throws -> Json {
    var text = text
    return try text.withUTF8 { bytes in
      if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
        throw JsonError("", "this is no JSON: it begins with a byte order mark")
      }
      var scanner = JsonScanner(bytes)
      let value = try scanner.value()
      try scanner.end()
      return value
    }
  }
}

extension JsonScanner {
  private static let longestKey = 200  // scalars: each value within has its own copy

  /// The value that is next, as a tree; `key` is where it is. Throws for a key that is there twice.
  mutating func value(_ key: String = "") throws -> Json {
    switch try kind() {
    case .object: return .object(try members(key))
    case .array:
      var values: [Json] = []
      try array { values.append(try $0.value("\(key)[\(values.count)]")) }
      return .array(values)
    case .string:
      var text: [UInt8] = []
      try string(into: &text)
      return .string(String(decoding: text, as: UTF8.self))
    case .number: return try number(key)
    case .bool:
      let isTrue = bytes[at] == UInt8(ascii: "t")
      try word(isTrue ? "true" : "false")
      return .bool(isTrue)
    case .null:
      try word("null")
      return .null
    }
  }

  private mutating func members(_ key: String) throws -> JsonObject {
    var object = JsonObject()
    try self.object { scanner, bytes in
      let name = String(decoding: bytes, as: UTF8.self)
      let inner = (key.isEmpty ? name : "\(key).\(name)").scalars(Self.longestKey)
      if object[name] != nil { throw JsonError(inner, "the key is there twice") }
      object[name] = try scanner.value(inner)
    }
    return object
  }

  private mutating func word(_ word: String) throws {
    guard bytes[at...].starts(with: word.utf8) else { throw notJson("a value") }
    at += word.utf8.count
  }
}

extension JsonScanner {
  private static let longestNumber = 64

  /// A number; those that only an attack would write ("1e999999999") are refused before anything computes with them.
  fileprivate mutating func number(_ key: String) throws -> Json {
    let start = at
    if bytes[at] == UInt8(ascii: "-") { at += 1 }
    let whole = digits()
    guard !whole.isEmpty, whole.count == 1 || whole.first != UInt8(ascii: "0") else { throw notJson("a number") }
    var fraction: [UInt8] = []
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
    else { throw JsonError(key, "\(text.prefix(40)) is no number that is read here") }
    let isNegative = bytes[start] == UInt8(ascii: "-")
    return integer(isNegative, whole + fraction, exponent - fraction.count).map(Json.integer) ?? .double(value)
  }

  private mutating func digits() -> [UInt8] {
    let start = at
    while at < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[at]) { at += 1 }
    return Array(bytes[start..<at])
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
