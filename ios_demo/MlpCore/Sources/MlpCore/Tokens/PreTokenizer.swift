/// A part of a text that no merge leaves. `start` is the byte of the text where it is; `bytes` is it in the model's
/// alphabet. Where that `isChanged`, a place inside of it is none of the text.
struct Piece {
  var start: Int
  var bytes: ArraySlice<UInt8>
  var isChanged = false
}

/// A step that splits pieces, or changes their alphabet.
protocol PreTokenizer: Sendable {
  /// `isFirst`: `piece` begins the whole text.
  func split(_ piece: Piece, isFirst: Bool) -> [Piece]
}

/// The steps of a tokenizer.json's `pre_tokenizer`. Throws `UnknownTokenizer` and `JsonError`.
func preTokenizer(_ json: Json) throws -> any PreTokenizer {
  if json.isNull { return Steps(steps: []) }
  guard let object = json.asObject else { throw JsonError("pre_tokenizer", "is no object") }
  let fields = JsonFields(object, path: "pre_tokenizer")
  switch try fields.string("type") {
  case "Sequence":
    return Steps(steps: try fields.objects("pretokenizers").map { try preTokenizer(.object($0)) })
  case "ByteLevel":
    return try ByteLevel(
      addsPrefixSpace: fields.flag("add_prefix_space", or: true), usesPattern: fields.flag("use_regex", or: true))
  case "Digits":
    let isIndividual = try fields.flag("individual_digits", or: false)
    let digit = Pattern(ScalarSet([.categories(categoryBits("N"), isNegated: false)]))
    return PatternSplit(digit, isIndividual ? .isolated : .contiguous)
  case "Split": return try PatternSplit(fields)
  case "Metaspace": return try Metaspace(fields)
  case let type: throw UnknownTokenizer("the pre-tokenizer \(type) is not known")
  }
}

extension JsonFields {
  /// `value` where the key is missing or null.
  func flag(_ key: String, or value: Bool) throws -> Bool {
    guard let found = json[key], !found.isNull else { return value }
    return try bool(key)
  }
}

private struct Steps: PreTokenizer {
  let steps: [any PreTokenizer]

  func split(_ piece: Piece, isFirst: Bool) -> [Piece] {
    steps.reduce([piece]) { pieces, step in
      pieces.enumerated().flatMap { index, part in step.split(part, isFirst: isFirst && index == 0) }
    }
  }
}

/// Splits where a pattern matches; `behavior` says what becomes of the matches.
struct PatternSplit: PreTokenizer {
  enum Behavior: String {
    case isolated = "Isolated"
    case removed = "Removed"
    case contiguous = "Contiguous"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
  }

  private typealias Part = (range: Range<Int>, isMatch: Bool)

  private let pattern: Pattern
  private let behavior: Behavior
  private let isInverted: Bool

  init(_ pattern: Pattern, _ behavior: Behavior, isInverted: Bool = false) {
    self.pattern = pattern
    self.behavior = behavior
    self.isInverted = isInverted
  }

  /// `Split` of a tokenizer.json.
  init(_ fields: JsonFields) throws {
    let name = try fields.string("behavior")
    guard let behavior = Behavior(rawValue: name) else {
      throw UnknownTokenizer("the behavior \(name) of Split is not known")
    }
    let source = try fields.fields("pattern")
    let pattern =
      source.has("Regex") ? try Pattern(source.string("Regex")) : Pattern(literal: try source.string("String"))
    self.init(pattern, behavior, isInverted: try fields.flag("invert", or: false))
  }

  func split(_ piece: Piece, isFirst: Bool) -> [Piece] {
    let count = piece.bytes.count
    var parts: [Part] = []
    var done = 0
    for match in piece.bytes.withUnsafeBufferPointer(pattern.matches) {
      if match.lowerBound > done { parts.append((done..<match.lowerBound, isInverted)) }
      if !match.isEmpty { parts.append((match, !isInverted)) }
      done = match.upperBound
    }
    if done < count { parts.append((done..<count, isInverted)) }
    let base = piece.bytes.startIndex
    return ranges(parts).map { range in
      Piece(
        start: piece.isChanged ? piece.start : piece.start + range.lowerBound,
        bytes: piece.bytes[base + range.lowerBound..<base + range.upperBound], isChanged: piece.isChanged)
    }
  }

  private func ranges(_ parts: [Part]) -> [Range<Int>] {
    switch behavior {
    case .isolated: parts.map(\.range)
    case .removed: parts.filter { !$0.isMatch }.map(\.range)
    case .contiguous: joined(parts) { $0 == $1 }
    case .mergedWithPrevious: joined(parts) { !$0 && $1 }
    case .mergedWithNext: joined(parts) { $0 && !$1 }
    }
  }

  /// Ranges, where those two neighbours are one of which `joins` says so.
  private func joined(_ parts: [Part], _ joins: (_ before: Bool, _ part: Bool) -> Bool) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for (index, part) in parts.enumerated() {
      if index > 0, joins(parts[index - 1].isMatch, part.isMatch), let last = result.popLast() {
        result.append(last.lowerBound..<part.range.upperBound)
      } else {
        result.append(part.range)
      }
    }
    return result
  }
}
