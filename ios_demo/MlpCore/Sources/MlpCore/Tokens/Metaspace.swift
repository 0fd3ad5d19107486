/// SentencePiece's: a space is a visible character, which begins a word.
struct Metaspace: PreTokenizer {
  private enum Prepends: String { case always, first, never }

  private let space: [UInt8]
  private let prepends: Prepends
  private let words: PatternSplit?

  init(_ fields: JsonFields) throws {
    let replacement = try fields.string("replacement")
    guard let scalar = replacement.unicodeScalars.first, replacement.unicodeScalars.count == 1 else {
      throw UnknownTokenizer("the replacement \(replacement) of Metaspace is not one character")
    }
    let oldScheme = try fields.flag("add_prefix_space", or: true) ? "always" : "never"
    let scheme = try fields.has("prepend_scheme") ? fields.string("prepend_scheme") : oldScheme
    guard let prepends = Prepends(rawValue: scheme) else {
      throw UnknownTokenizer("the prepend_scheme \(scheme) is not known")
    }
    self.prepends = prepends
    space = Array(replacement.utf8)
    let starts = ScalarSet([.range(0x20...0x20), .range(scalar.value...scalar.value)])
    words = try fields.flag("split", or: true) ? PatternSplit(Pattern(starts), .mergedWithNext) : nil
  }

  func split(_ piece: Piece, isFirst: Bool) -> [Piece] {
    let prefixes = prepends == .always || prepends == .first && isFirst
    let parts = words?.split(piece, isFirst: isFirst) ?? [piece]
    return parts.enumerated().map { index, part in
      var bytes = part.bytes.replacing([0x20], space)
      if index == 0, prefixes, !bytes.starts(with: space) { bytes = space + bytes }
      return Piece(start: part.start, bytes: bytes, isChanged: true)
    }
  }
}
