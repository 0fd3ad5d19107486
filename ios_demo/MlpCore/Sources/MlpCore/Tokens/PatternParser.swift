/// A regular expression of a tokenizer.json, in Oniguruma's syntax, as a tree. Throws `UnknownTokenizer` for what is not
/// known to mean the same here.
struct PatternParser {
  indirect enum Node: Equatable {
    case one(ScalarSet)
    case sequence([Node])
    case alternatives([Node])
    case repeated(Node, Repeat)
    case look(Node, isNegated: Bool)  // ahead
    case start  // of the text

    var canBeEmpty: Bool {
      switch self {
      case .one: false
      case .sequence(let parts): parts.allSatisfy(\.canBeEmpty)
      case .alternatives(let all): all.contains(where: \.canBeEmpty)
      case .repeated(let inner, let times): times.least == 0 || inner.canBeEmpty
      case .look, .start: true
      }
    }
  }

  struct Repeat: Equatable {
    enum Manner { case greedy, reluctant, possessive }

    var least: Int
    var most: Int?  // nil: no limit
    var manner: Manner
  }

  private static let most = 1000  // of repeats that are counted
  private static let deepest = 50  // groups in groups

  private let source: String
  private let scalars: [Unicode.Scalar]
  private var at = 0
  private var ignoresCase = false
  private var depth = 0

  static func parse(_ source: String) throws -> Node {
    var parser = PatternParser(source)
    let node = try parser.alternatives()
    guard parser.at == parser.scalars.count else { throw parser.unknown() }
    return node
  }

  private init(_ source: String) {
    self.source = source
    scalars = Array(source.unicodeScalars)
  }

  private func unknown() -> UnknownTokenizer { UnknownTokenizer("the pattern \(source) is not known") }

  private var next: Unicode.Scalar? { at < scalars.count ? scalars[at] : nil }

  private mutating func take(_ text: String) -> Bool {
    guard scalars[at...].starts(with: text.unicodeScalars) else { return false }
    at += text.unicodeScalars.count
    return true
  }

  private mutating func scalar() throws -> Unicode.Scalar {
    guard let scalar = next else { throw unknown() }
    at += 1
    return scalar
  }

  private mutating func alternatives() throws -> Node {
    var all = [try sequence()]
    while take("|") { all.append(try sequence()) }
    return all.count == 1 ? all[0] : .alternatives(all)
  }

  private mutating func sequence() throws -> Node {
    var parts: [Node] = []
    while let next, next != "|", next != ")" { parts.append(try repeated(try atom())) }
    return parts.count == 1 ? parts[0] : .sequence(parts)
  }

  private mutating func atom() throws -> Node {
    let first = try scalar()
    switch first {
    case "(": return try group()
    case "[": return .one(try characterClass())
    case "\\" where take("A"): return .start
    case "\\": return .one(ScalarSet([try escape()], ignoresCase: ignoresCase))
    case ".": return .one(ScalarSet([.range(0x0A...0x0A)], isNegated: true))
    case "^", "$", "*", "+", "?", "{": throw unknown()
    default: return .one(ScalarSet([.range(first.value...first.value)], ignoresCase: ignoresCase))
    }
  }

  private mutating func group() throws -> Node {
    let outer = ignoresCase
    depth += 1
    defer { (ignoresCase, depth) = (outer, depth - 1) }
    if depth > Self.deepest { throw unknown() }
    var look: Bool?  // whether it is a negated one
    if take("?i:") {
      ignoresCase = true
    } else if take("?=") {
      look = false
    } else if take("?!") {
      look = true
    } else if !take("?:"), next == "?" {
      throw unknown()
    }
    let inner = try alternatives()
    guard take(")") else { throw unknown() }
    return look.map { .look(inner, isNegated: $0) } ?? inner
  }

  private mutating func repeated(_ node: Node) throws -> Node {
    let isCounted = next == "{"
    var times: Repeat
    if take("*") {
      times = Repeat(least: 0, most: nil, manner: .greedy)
    } else if take("+") {
      times = Repeat(least: 1, most: nil, manner: .greedy)
    } else if take("?") {
      times = Repeat(least: 0, most: 1, manner: .greedy)
    } else if take("{") {
      times = try counts()
    } else {
      return node
    }
    // After {n} both signs mean something else to Oniguruma.
    if isCounted, next == "+" || next == "?" { throw unknown() }
    if take("+") { times.manner = .possessive } else if take("?") { times.manner = .reluctant }
    switch node {
    case .look, .start: throw unknown()
    default: break
    }
    guard next.map({ !"*+?{".unicodeScalars.contains($0) }) ?? true else { throw unknown() }
    return .repeated(node, times)
  }

  /// `n}`, `n,}`, `,m}` or `n,m}`.
  private mutating func counts() throws -> Repeat {
    let least = number()
    var most = least
    if take(",") { most = number() } else if least == nil { throw unknown() }
    guard take("}"), least != nil || most != nil, (least ?? 0) <= (most ?? Self.most), (most ?? 0) <= Self.most else {
      throw unknown()
    }
    return Repeat(least: least ?? 0, most: most, manner: .greedy)
  }

  private mutating func number() -> Int? {
    let start = at
    while let next, ("0"..."9").contains(next) { at += 1 }
    return Int(String(String.UnicodeScalarView(scalars[start..<at])))
  }
}

extension PatternParser {
  private mutating func characterClass() throws -> ScalarSet {
    let isNegated = take("^")
    var members: [ScalarSet.Member] = []
    while !take("]") {
      let member = try classMember(isFirst: members.isEmpty)
      guard case .range(let range) = member, next == "-", at + 1 < scalars.count, scalars[at + 1] != "]" else {
        members.append(member)
        continue
      }
      at += 1
      guard case .range(let end) = try classMember(isFirst: false), range.lowerBound <= end.upperBound else {
        throw unknown()
      }
      members.append(.range(range.lowerBound...end.upperBound))
    }
    if members.isEmpty { throw unknown() }
    return ScalarSet(members, isNegated: isNegated, ignoresCase: ignoresCase)
  }

  /// Classes in classes, and what two ampersands do, are not known.
  private mutating func classMember(isFirst: Bool) throws -> ScalarSet.Member {
    let scalar = try scalar()
    switch scalar {
    case "\\": return try escape()
    case "[": throw unknown()
    case "&" where next == "&": throw unknown()
    case "-" where !isFirst && next != "]": throw unknown()
    default: return .range(scalar.value...scalar.value)
    }
  }

  private mutating func escape() throws -> ScalarSet.Member {
    let letter = try scalar()
    switch letter {
    case "s", "S": return .space(isNegated: letter == "S")
    case "w", "W": return .word(isNegated: letter == "W")
    case "d", "D": return .categories(categoryBits("Nd"), isNegated: letter == "D")
    case "p", "P": return try category(isNegated: letter == "P")
    case "r": return .range(0x0D...0x0D)
    case "n": return .range(0x0A...0x0A)
    case "t": return .range(0x09...0x09)
    default:
      guard letter.isASCII, !letter.properties.isAlphabetic, !("0"..."9").contains(letter) else { throw unknown() }
      return .range(letter.value...letter.value)
    }
  }

  private mutating func category(isNegated: Bool) throws -> ScalarSet.Member {
    guard take("{") else { throw unknown() }
    let start = at
    while let next, next != "}" { at += 1 }
    let bits = categoryBits(String(String.UnicodeScalarView(scalars[start..<at])))
    guard take("}"), bits != 0 else { throw unknown() }
    return .categories(bits, isNegated: isNegated)
  }
}
