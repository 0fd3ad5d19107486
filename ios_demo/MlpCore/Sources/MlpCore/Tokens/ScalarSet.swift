/// A set of scalars as a regular expression names it.
struct ScalarSet: Sendable, Equatable {
  enum Member: Sendable, Equatable {
    case range(ClosedRange<UInt32>)
    case categories(UInt32, isNegated: Bool)  // bits of general categories
    case space(isNegated: Bool)
    case word(isNegated: Bool)  // Oniguruma's
    case alphabetic
  }

  private let members: [Member]
  private let isNegated: Bool
  private let ignoresCase: Bool
  private var ascii: [Bool] = []

  init(_ members: [Member], isNegated: Bool = false, ignoresCase: Bool = false) {
    self.members = members
    self.isNegated = isNegated
    self.ignoresCase = ignoresCase
    ascii = (0..<0x80).map(look)
  }

  @inline(__always)
  func contains(_ scalar: UInt32) -> Bool { scalar < 0x80 ? ascii[Int(scalar)] : look(scalar) }

  private func look(_ value: UInt32) -> Bool {
    guard let scalar = Unicode.Scalar(value) else { return false }
    var found = has(scalar)
    if !found, ignoresCase { found = otherCases(scalar).contains(where: has) }
    return found != isNegated
  }

  private func has(_ scalar: Unicode.Scalar) -> Bool {
    members.contains { member in
      switch member {
      case .range(let range): range.contains(scalar.value)
      case .categories(let bits, let isNegated): (bits & categoryBit(scalar) != 0) != isNegated
      case .space(let isNegated): scalar.properties.isWhitespace != isNegated
      case .word(let isNegated): isWord(scalar) != isNegated
      case .alphabetic: scalar.properties.isAlphabetic
      }
    }
  }

  /// Both cases of `scalar`, and the small letter of its capital: that of U+017F is s.
  private func otherCases(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
    let (lower, upper) = (scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping)
    let cases = [lower, upper, Unicode.Scalar(upper)?.properties.lowercaseMapping]
    return cases.compactMap { $0.flatMap(Unicode.Scalar.init) }
  }
}

extension Unicode.Scalar {
  /// The scalar of a text that has no other.
  fileprivate init?(_ text: String) {
    guard text.unicodeScalars.count == 1, let only = text.unicodeScalars.first else { return nil }
    self = only
  }
}

/// What Oniguruma means by a word's character, which `tokenizers` uses for patterns.
private func isWord(_ scalar: Unicode.Scalar) -> Bool {
  scalar.properties.isAlphabetic || categoryBit(scalar) & wordCategories != 0
}

private let wordCategories = categoryBits("M") | categoryBits("N") | categoryBits("Pc")

private let categoryNames: [String] = [
  "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
  "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
]

/// The bits of the general category of one or two letters; 0 where there is none of that name.
func categoryBits(_ name: String) -> UInt32 {
  categoryNames.enumerated().reduce(0) { bits, next in
    next.element == name || next.element.prefix(1) == name ? bits | 1 << UInt32(next.offset) : bits
  }
}

/// The bit of `scalar`'s general category, at its place in `categoryNames`.
@inline(__always)
private func categoryBit(_ scalar: Unicode.Scalar) -> UInt32 {
  let place: UInt32 =
    switch scalar.properties.generalCategory {
    case .uppercaseLetter: 0
    case .lowercaseLetter: 1
    case .titlecaseLetter: 2
    case .modifierLetter: 3
    case .otherLetter: 4
    case .nonspacingMark: 5
    case .spacingMark: 6
    case .enclosingMark: 7
    case .decimalNumber: 8
    case .letterNumber: 9
    case .otherNumber: 10
    case .connectorPunctuation: 11
    case .dashPunctuation: 12
    case .openPunctuation: 13
    case .closePunctuation: 14
    case .initialPunctuation: 15
    case .finalPunctuation: 16
    case .otherPunctuation: 17
    case .mathSymbol: 18
    case .currencySymbol: 19
    case .modifierSymbol: 20
    case .otherSymbol: 21
    case .spaceSeparator: 22
    case .lineSeparator: 23
    case .paragraphSeparator: 24
    case .control: 25
    case .format: 26
    case .surrogate: 27
    case .privateUse: 28
    case .unassigned: 29
    @unknown default: 29
    }
  return 1 << place
}
