/// Hugging Face's `tokenizers` for byte-pair encoding, byte-level or with SentencePiece's alphabet: the same ids.
struct BpeTokenizer: Tokenizer {
  private static let tries = 16  // cuts that are tried for the end of a slice, on either side

  let inexactBecause: String? = nil

  private let model: BpeModel
  private let normalize: Normalizer
  private let words: any PreTokenizer
  private let all: AddedTokens
  private let beforeNormalizing: AddedTokens
  private let afterNormalizing: AddedTokens

  /// Throws `UnknownTokenizer` for a file that says something that is not known, and `JsonError`.
  init(_ file: TokenizerFile) throws {
    let normalize = try Normalizer(file.normalizer)
    self.normalize = normalize
    words = try preTokenizer(file.preTokenizer)
    model = try BpeModel(file)
    all = AddedTokens(file.added)
    beforeNormalizing = AddedTokens(file.added.filter { !$0.isNormalized })
    afterNormalizing = AddedTokens(
      file.added.filter(\.isNormalized).map {
        var token = $0
        token.content = Array(normalize(token.content[...]))
        return token
      })
  }

  func count(_ text: String) -> TokenCount { TokenCount(encode(text).count, isExact: true) }

  func tokens(before rest: String, in whole: String) -> TokenCount? {
    let (ids, own) = (encode(whole), encode(rest))
    return ids.suffix(own.count) == own[...] ? TokenCount(ids.count - own.count, isExact: true) : nil
  }

  func special(in message: String) -> String? { all.special(Array(message.utf8)) }

  func spelling(_ id: Int) -> String? { all.spelling(id) }

  /// The ids of `text`, in which added tokens are recognised; no BOS is added.
  func encode(_ text: String) -> [Int] { run(Array(text.utf8)[...]).ids }

  func slices(_ text: String, size: Int) -> [String] {
    let bytes = Array(text.utf8)[...]
    let whole = run(bytes)
    var ends = [0]  // cuts; cut 0 is the beginning
    while let from = ends.last, whole.ids.count - whole.tokens[from] > size,
      let next = nextCut(bytes, whole, from, size)
    {
      ends.append(next)
    }
    // What is left may not begin at the last cut, where a tokenizer puts a space before each text.
    while let last = ends.last, last > 0, !isExact(bytes[whole.cuts[last]...], whole.ids[whole.tokens[last]...]) {
      ends.removeLast()
    }
    let places = ends.map { whole.cuts[$0] } + [bytes.count]
    return zip(places, places.dropFirst()).map { String(decoding: bytes[$0..<$1], as: UTF8.self) }
  }

  /// The cut that ends a slice from cut `from` on. A slice is taken if its tokens alone are those it has in the text:
  /// then the slices together have the text's, whatever the pre-tokenizer looks at.
  private func nextCut(_ text: ArraySlice<UInt8>, _ whole: Encoded, _ from: Int, _ size: Int) -> Int? {
    let start = whole.tokens[from]
    let all = whole.cuts.count
    let after = (from + 1..<all).first { whole.tokens[$0] > start + size } ?? all
    let before = (max(from + 1, after - Self.tries)..<max(from + 1, after)).reversed()
    return (Array(before) + Array(after..<min(after + Self.tries, all))).first { to in
      let ids = whole.ids[start..<whole.tokens[to]]
      return !ids.isEmpty && isExact(text[whole.cuts[from]..<whole.cuts[to]], ids)
    }
  }

  /// Whether `part` alone has the tokens `ids`.
  private func isExact(_ part: ArraySlice<UInt8>, _ ids: ArraySlice<Int>) -> Bool { run(part).ids[...] == ids }
}

extension BpeTokenizer {
  /// Ids, and the places in the text where it may be cut, each with the number of ids before it.
  private struct Encoded {
    var ids: [Int] = []
    private(set) var cuts: [Int]
    private(set) var tokens = [0]
    var known: [ArraySlice<UInt8>: [Int]] = [:]  // words that were seen

    init(start: Int) { cuts = [start] }

    mutating func cut(_ at: Int) {
      guard let last = cuts.last, at > last else { return }
      cuts.append(at)
      tokens.append(ids.count)
    }
  }

  private func run(_ text: ArraySlice<UInt8>) -> Encoded {
    var result = Encoded(start: text.startIndex)
    for (range, token) in beforeNormalizing.split(text) {
      result.cut(range.lowerBound)
      if let token {
        result.ids.append(token.id)
      } else {
        encode(text[range], isFirst: range.lowerBound == text.startIndex, &result)
      }
    }
    return result
  }

  private func encode(_ segment: ArraySlice<UInt8>, isFirst: Bool, _ result: inout Encoded) {
    let text = normalize(segment)
    let isChanged = text != segment
    for (range, token) in afterNormalizing.split(text) {
      let start = isChanged ? segment.startIndex : range.lowerBound
      result.cut(start)
      if let token {
        result.ids.append(token.id)
        continue
      }
      let piece = Piece(start: start, bytes: text[range], isChanged: isChanged)
      for part in words.split(piece, isFirst: isFirst && range.lowerBound == text.startIndex) {
        result.cut(part.start)
        if let ids = result.known[part.bytes] {
          result.ids += ids
        } else {
          let ids = model.encode(part.bytes)
          result.known[part.bytes] = ids
          result.ids += ids
        }
      }
    }
  }
}
