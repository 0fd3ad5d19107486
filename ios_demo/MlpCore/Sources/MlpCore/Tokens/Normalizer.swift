import Foundation

/// What a tokenizer.json's `normalizer` makes of a text.
struct Normalizer: Sendable {
  private enum Step: Sendable {
    case nfc, nfd, nfkc, nfkd
    case prepend([UInt8])
    case replace([UInt8], by: [UInt8])
    case replaceMatches(Pattern, by: [UInt8])
  }

  private var steps: [Step] = []

  /// Throws `UnknownTokenizer` and `JsonError`.
  init(_ json: Json) throws {
    if json.isNull { return }
    guard let object = json.asObject else { throw JsonError("normalizer", "is no object") }
    let fields = JsonFields(object, path: "normalizer")
    switch try fields.string("type") {
    case "Sequence": steps = try fields.objects("normalizers").flatMap { try Normalizer(.object($0)).steps }
    case "NFC": steps = [.nfc]
    case "NFD": steps = [.nfd]
    case "NFKC": steps = [.nfkc]
    case "NFKD": steps = [.nfkd]
    case "Prepend": steps = [.prepend(Array(try fields.string("prepend").utf8))]
    case "Replace": steps = [try Self.replace(fields)]
    case let type: throw UnknownTokenizer("the normalizer \(type) is not known")
    }
  }

  private static func replace(_ fields: JsonFields) throws -> Step {
    let pattern = try fields.fields("pattern")
    let new = Array(try fields.string("content").utf8)
    let nothing = UnknownTokenizer("a Replace of nothing is not known")
    if pattern.has("Regex") {
      let regex = try Pattern(try pattern.string("Regex"))
      // Engines differ in what lies between two matches of nothing.
      if !regex.matches(UnsafeBufferPointer(start: nil, count: 0)).isEmpty { throw nothing }
      return .replaceMatches(regex, by: new)
    }
    let old = try pattern.string("String")
    if old.isEmpty { throw nothing }
    return .replace(Array(old.utf8), by: new)
  }

  func callAsFunction(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    steps.reduce(text) { text, step in
      switch step {
      case .nfc: Self.form(text) { $0.precomposedStringWithCanonicalMapping }
      case .nfd: Self.form(text) { $0.decomposedStringWithCanonicalMapping }
      case .nfkc: Self.form(text) { $0.precomposedStringWithCompatibilityMapping }
      case .nfkd: Self.form(text) { $0.decomposedStringWithCompatibilityMapping }
      case .prepend(let prefix): text.isEmpty ? text : prefix + text
      case .replace(let old, let new): text.replacing(old, new)
      case .replaceMatches(let pattern, let new): text.replacing(pattern, new)
      }
    }
  }

  /// ASCII is the same in all forms.
  private static func form(_ text: ArraySlice<UInt8>, _ form: (String) -> String) -> ArraySlice<UInt8> {
    text.allSatisfy { $0 < 0x80 } ? text : Array(form(String(decoding: text, as: UTF8.self)).utf8)[...]
  }
}

extension ArraySlice<UInt8> {
  /// This with `new` in place of each match of `pattern`.
  func replacing(_ pattern: Pattern, _ new: [UInt8]) -> ArraySlice<UInt8> {
    var result: [UInt8] = []
    var at = startIndex
    for match in withUnsafeBufferPointer(pattern.matches) {
      result += self[at..<startIndex + match.lowerBound] + new
      at = startIndex + match.upperBound
    }
    return (result + self[at...])[...]
  }

  /// This with `new` in all places of `old`, which is not empty.
  func replacing(_ old: [UInt8], _ new: [UInt8]) -> ArraySlice<UInt8> {
    var result: [UInt8] = []
    var at = startIndex
    while at < endIndex {
      if self[at] == old[0], self[at...].starts(with: old) {
        result += new
        at += old.count
      } else {
        result.append(self[at])
        at += 1
      }
    }
    return result[...]
  }
}

extension JsonFields {
  /// The objects of a list.
  func objects(_ key: String) throws -> [JsonObject] { try list(key).map(\.json) }
}
