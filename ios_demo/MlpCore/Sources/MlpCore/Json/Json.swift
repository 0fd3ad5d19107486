/// A JSON value. Integers that fit are kept exactly; object keys are compared byte by byte, and keep their order.
public enum Json: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  case double(Double)
  case string(String)
  case array([Json])
  case object(JsonObject)

  public var asBool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var asInteger: Int64? { if case .integer(let value) = self { value } else { nil } }
  public var asString: String? { if case .string(let value) = self { value } else { nil } }
  public var asArray: [Json]? { if case .array(let value) = self { value } else { nil } }
  public var asObject: JsonObject? { if case .object(let value) = self { value } else { nil } }

  public var asDouble: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }

  public var isNull: Bool { self == .null }

  /// The value at `key` of an object; nil where this is none, or has no such key.
  public subscript(key: String) -> Json? { asObject?[key] }
}

/// JSON that is not what was expected; `key` is where, "" for the whole text.
public struct JsonError: Error, Equatable, CustomStringConvertible {
  public var key: String
  public var problem: String

  public init(_ key: String, _ problem: String) {
    self.key = key
    self.problem = problem
  }

  public var description: String { key.isEmpty ? problem : "\(key): \(problem)" }
}

/// The members of a JSON object, in the order of the text. Two objects are equal in whatever order.
public struct JsonObject: Sendable, ExpressibleByDictionaryLiteral {
  public private(set) var keys: [String] = []
  private var values: [ExactString: Json] = [:]

  public init() {}

  public init(dictionaryLiteral members: (String, Json)...) {
    for (key, value) in members { self[key] = value }
  }

  /// Setting nil removes the member.
  public subscript(key: String) -> Json? {
    get { values[ExactString(key)] }
    set {
      let exact = ExactString(key)
      let had = values.updateOrRemove(newValue, exact) != nil
      if had, newValue == nil { keys.removeAll { ExactString($0) == exact } }
      if !had, newValue != nil { keys.append(key) }
    }
  }
}

extension JsonObject: Equatable {
  public static func == (one: JsonObject, other: JsonObject) -> Bool { one.values == other.values }
}

extension Dictionary {
  /// The value that was there.
  fileprivate mutating func updateOrRemove(_ value: Value?, _ key: Key) -> Value? {
    if let value { updateValue(value, forKey: key) } else { removeValue(forKey: key) }
  }
}

/// A text that equals only one of the same bytes: `String` takes composed and decomposed characters for the same.
struct ExactString: Hashable, Sendable {
  var text: String

  init(_ text: String) { self.text = text }

  static func == (one: ExactString, other: ExactString) -> Bool { one.text.utf8.elementsEqual(other.text.utf8) }

  func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}

extension Json: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  public init(nilLiteral: ()) { self = .null }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(floatLiteral value: Double) { self = .double(value) }
  public init(stringLiteral value: String) { self = .string(value) }
  public init(arrayLiteral values: Json...) { self = .array(values) }

  public init(dictionaryLiteral members: (String, Json)...) {
    var object = JsonObject()
    for (key, value) in members { object[key] = value }
    self = .object(object)
  }
}
