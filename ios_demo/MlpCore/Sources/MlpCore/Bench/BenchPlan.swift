/// What is to be measured: the launch argument behind `--bench`, as mlp_export/data/device_bench.schema.json has it.
struct BenchPlan: Equatable, Sendable {
  private static let format = 1

  var id: String  // names the result: ID.json
  var bundle: String  // the folder's name
  var promptTokens: [Int]
  var newTokens: Int
  var repetitions: Int
  var sustainedSeconds: Int

  /// Throws `JsonError`, which names the key.
  static func parse(_ text: String) throws -> BenchPlan {
    guard let object = try Json.parse(text).asObject else { throw JsonError("", "expected a JSON object") }
    let json = JsonFields(object)
    if try json.int("format", atLeast: 1) != format { throw json.wrong("format", "\(format)") }
    let plan = BenchPlan(
      id: try json.string("id"), bundle: try json.string("bundle"),
      promptTokens: try json.ints("prompt_tokens", atLeast: 1), newTokens: try json.int("new_tokens", atLeast: 1),
      repetitions: try json.int("repetitions", atLeast: 1),
      sustainedSeconds: try json.int("sustained_seconds", atLeast: 0))
    guard isId(plan.id) else { throw json.wrong("id", "up to 64 letters, digits, - and _") }
    guard !plan.promptTokens.isEmpty, Set(plan.promptTokens).count == plan.promptTokens.count else {
      throw json.wrong("prompt_tokens", "lengths that differ, at least one")
    }
    try json.refuseOthers()
    return plan
  }

  /// The id of a plan that may be bad otherwise, so that its result can say why; nil where that is bad too.
  static func id(of text: String) -> String? {
    guard let id = (try? Json.parse(text))?["id"]?.asString, isId(id) else { return nil }
    return id
  }

  /// The name of a file, and of nothing elsewhere.
  private static func isId(_ id: String) -> Bool {
    let bytes = Array(id.utf8)
    guard let first = bytes.first, bytes.count <= 64, isAlphanumeric(first) else { return false }
    return bytes.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
  }

  var json: Json {
    [
      "format": .number(Self.format),
      "id": .string(id),
      "bundle": .string(bundle),
      "prompt_tokens": .array(promptTokens.map(Json.number)),
      "new_tokens": .number(newTokens),
      "repetitions": .number(repetitions),
      "sustained_seconds": .number(sustainedSeconds),
    ]
  }
}
