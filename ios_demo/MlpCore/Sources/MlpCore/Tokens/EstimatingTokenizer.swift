/// Estimates, for tokenizers that are not read exactly: of European text within about a third.
struct EstimatingTokenizer: Tokenizer {
  private static let bytesPerToken = 4
  private static let letter = ScalarSet([.categories(categoryBits("L"), isNegated: false)])

  let inexactBecause: String?

  private let added: AddedTokens

  init(_ added: AddedTokens, because reason: String) {
    self.added = added
    inexactBecause = reason
  }

  func count(_ text: String) -> TokenCount {
    let bytes = Array(text.utf8)
    let tokens = added.split(bytes[...]).reduce(0) { sum, part in
      sum + (part.1 == nil ? Self.estimate(bytes[part.0]) : 1)
    }
    return TokenCount(tokens, isExact: false)
  }

  func tokens(before rest: String, in whole: String) -> TokenCount? {
    count(String(decoding: whole.utf8.dropLast(rest.utf8.count), as: UTF8.self))
  }

  func special(in message: String) -> String? { added.special(Array(message.utf8)) }

  func spelling(_ id: Int) -> String? { added.spelling(id) }

  func slices(_ text: String, size: Int) -> [String] {
    let bytes = Array(text.utf8)[...]
    var slices: [String] = []
    var start = 0
    while let end = Self.cut(bytes, start + size * Self.bytesPerToken) {
      slices.append(String(decoding: bytes[start..<end], as: UTF8.self))
      start = end
    }
    return slices + [String(decoding: bytes[start...], as: UTF8.self)]
  }

  /// The first place from `from` on where a word follows a word: all pre-tokenizers split there.
  private static func cut(_ text: ArraySlice<UInt8>, _ from: Int) -> Int? {
    guard max(from, 1) < text.count else { return nil }
    return (max(from, 1)..<text.count).first {
      text[$0] == 0x20 && letter.isBefore(text, $0) && letter.isAt(text, $0 + 1)
    }
  }

  /// English has 4 to 4.5 letters a token in vocabularies of 50k to 200k; other scripts nearer to one.
  private static func estimate(_ text: ArraySlice<UInt8>) -> Int {
    let ascii = text.count { $0 < 0x80 }
    let others = text.count { $0 >= 0xC0 }
    return (ascii + bytesPerToken - 1) / bytesPerToken + others
  }
}
