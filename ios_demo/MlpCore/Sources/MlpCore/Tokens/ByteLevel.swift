/// GPT-2's: words by its pattern, then each byte of UTF-8 as a printable character.
struct ByteLevel: PreTokenizer {
  private static let pattern =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

  /// Each byte's character in UTF-8: printable ones of Latin-1 are themselves, the others follow from U+0100 on.
  private static let alphabet: [[UInt8]] = {
    var next: UInt32 = 0x100
    return (UInt32(0)...255).map { byte in
      let isPrintable = (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
      var spelling: [UInt8] = []
      Utf8.append(isPrintable ? byte : next, to: &spelling)
      if !isPrintable { next += 1 }
      return spelling
    }
  }()

  private let addsPrefixSpace: Bool
  private let words: PatternSplit?

  init(addsPrefixSpace: Bool, usesPattern: Bool) throws {
    self.addsPrefixSpace = addsPrefixSpace
    words = usesPattern ? PatternSplit(try Pattern(Self.pattern), .isolated) : nil
  }

  func split(_ piece: Piece, isFirst: Bool) -> [Piece] {
    var spaced = piece
    if addsPrefixSpace, piece.bytes.first != 0x20 {
      spaced.bytes = [0x20] + piece.bytes
      if !piece.isChanged { spaced.start -= 1 }
    }
    let parts = words?.split(spaced, isFirst: isFirst) ?? [spaced]
    return parts.map {
      Piece(start: max($0.start, piece.start), bytes: Self.inAlphabet($0.bytes), isChanged: true)
    }
  }

  private static func inAlphabet(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count * 2)
    for byte in bytes { result += alphabet[Int(byte)] }
    return result[...]
  }
}
