/// An object of a JSON tree with the keys that were read, so that others can be refused. Its functions throw
/// `JsonError` for a key that is missing or has another kind of value.
public final class JsonFields {
  public let json: JsonObject
  private let path: String
  private var read: Set<ExactString> = []

  public init(_ json: JsonObject, path: String = "") {
    self.json = json
    self.path = path
  }

  public var keys: [String] { json.keys }

  public func has(_ key: String) -> Bool { json[key] != nil }

  /// What `read` makes of a key that may be absent or null.
  public func ifThere<T>(_ key: String, _ read: (String) throws -> T) throws -> T? {
    guard has(key), try !value(key).isNull else { return nil }
    return try read(key)
  }

  /// The case that the text names.
  public func oneOf<T: RawRepresentable & CaseIterable>(_ key: String) throws -> T where T.RawValue == String {
    guard let value = T(rawValue: try string(key)) else {
      throw wrong(key, T.allCases.map(\.rawValue).joined(separator: " or "))
    }
    return value
  }

  public func string(_ key: String) throws -> String {
    guard let value = try stringOrNull(key) else { throw wrong(key, "text") }
    return value
  }

  public func stringOrNull(_ key: String) throws -> String? {
    let value = try value(key)
    if value.isNull { return nil }
    guard let text = value.asString else { throw wrong(key, "text or null") }
    return text
  }

  public func bool(_ key: String) throws -> Bool {
    guard let value = try value(key).asBool else { throw wrong(key, "true or false") }
    return value
  }

  /// At most 2^31 - 1, which readers in other languages hold in 32 bits.
  public func int(_ key: String, atLeast least: Int) throws -> Int {
    try Self.int(try value(key), least) { wrong(key, $0) }
  }

  /// At most 2^53 - 1, beyond which readers that know only doubles are wrong.
  public func int64(_ key: String, atLeast least: Int64) throws -> Int64 {
    let most: Int64 = 1 << 53 - 1
    guard let number = try value(key).asInteger, (least...most).contains(number) else {
      throw wrong(key, "an integer from \(least) to \(most)")
    }
    return number
  }

  public func doubleOrNull(_ key: String) throws -> Double? {
    let value = try value(key)
    if value.isNull { return nil }
    guard let number = value.asDouble else { throw wrong(key, "a number or null") }
    return number
  }

  public func fields(_ key: String) throws -> JsonFields {
    guard let value = try fieldsOrNull(key) else { throw wrong(key, "an object") }
    return value
  }

  public func fieldsOrNull(_ key: String) throws -> JsonFields? {
    let value = try value(key)
    if value.isNull { return nil }
    guard let object = value.asObject else { throw wrong(key, "an object or null") }
    return JsonFields(object, path: at(key))
  }

  /// The objects of a list.
  public func list(_ key: String) throws -> [JsonFields] {
    try array(key).enumerated().map { index, value in
      guard let object = value.asObject else { throw wrong(key, "objects") }
      return JsonFields(object, path: "\(at(key))[\(index)]")
    }
  }

  public func strings(_ key: String) throws -> [String] {
    try array(key).map { value in
      guard let text = value.asString else { throw wrong(key, "texts") }
      return text
    }
  }

  public func ints(_ key: String, atLeast least: Int) throws -> [Int] {
    try array(key).map { try Self.int($0, least) { wrong(key, "in each place \($0)") } }
  }

  /// An object of texts. Its keys are compared as `String` compares.
  public func stringMap(_ key: String) throws -> [String: String] {
    let inner = try fields(key)
    return try Dictionary(inner.keys.map { ($0, try inner.string($0)) }, uniquingKeysWith: { first, _ in first })
  }

  /// Throws for a key that nothing asked for.
  public func refuseOthers() throws {
    if let other = keys.first(where: { !read.contains(ExactString($0)) }) {
      throw JsonError(at(other), "the key is not known")
    }
  }

  public func wrong(_ key: String, _ expected: String) -> JsonError {
    guard let found = json[key] else { return JsonError(at(key), "expected \(expected)") }
    return JsonError(at(key), "is \(found.encoded().scalars(60)), expected \(expected)")
  }

  private func array(_ key: String) throws -> [Json] {
    guard let values = try value(key).asArray else { throw wrong(key, "a list") }
    return values
  }

  private func value(_ key: String) throws -> Json {
    read.insert(ExactString(key))
    guard let value = json[key] else { throw JsonError(at(key), "is missing") }
    return value
  }

  private static func int(_ value: Json, _ least: Int, _ wrong: (String) -> JsonError) throws -> Int {
    guard let number = value.asInteger, (Int64(least)...Int64(Int32.max)).contains(number) else {
      throw wrong("an integer from \(least) to \(Int32.max)")
    }
    return Int(number)
  }

  private func at(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
}
