/// An entry of `added_tokens`: a text that is one token before the text around it is looked at.
struct AddedToken: Sendable, Equatable {
  var id: Int
  var content: [UInt8]
  var isSingleWord = false
  var takesSpaceBefore = false
  var takesSpaceAfter = false
  var isNormalized = false
  var isSpecial = false

  var spelling: String { String(decoding: content, as: UTF8.self) }
}

extension AddedToken {
  /// Throws `JsonError`.
  init(_ fields: JsonFields) throws {
    func flag(_ key: String) throws -> Bool { try fields.has(key) && fields.bool(key) }
    id = try fields.int("id", atLeast: 0)
    content = Array(try fields.string("content").utf8)
    isSingleWord = try flag("single_word")
    takesSpaceBefore = try flag("lstrip")
    takesSpaceAfter = try flag("rstrip")
    isNormalized = try flag("normalized")
    isSpecial = try flag("special")
  }
}

/// Finds added tokens in a text: leftmost, and of those the longest.
struct AddedTokens: Sendable {
  private var byFirst = [[AddedToken]](repeating: [], count: 256)  // byte; the longest come first
  private var spellings: [Int: String] = [:]

  init(_ all: [AddedToken]) {
    for token in all.sorted(by: { $0.content.count > $1.content.count }) {
      if let first = token.content.first { byFirst[Int(first)].append(token) }
    }
    for token in all { spellings[token.id] = token.spelling }
  }

  func spelling(_ id: Int) -> String? { spellings[id] }

  /// The first special token in `text`.
  func special(_ text: [UInt8]) -> String? {
    for at in text.indices {
      if let token = first(text[...], at, where: \.isSpecial) { return token.spelling }
    }
    return nil
  }

  /// `text` as ranges of bytes, each with the token that is there or nil.
  func split(_ text: ArraySlice<UInt8>) -> [(Range<Int>, AddedToken?)] {
    var result: [(Range<Int>, AddedToken?)] = []
    var (done, at) = (text.startIndex, text.startIndex)
    while at < text.endIndex {
      guard let token = first(text, at, where: { _ in true }) else {
        at += 1
        continue
      }
      var (start, end) = (at, at + token.content.count)
      at = end
      if token.isSingleWord, Self.word.isBefore(text, start) || Self.word.isAt(text, end) { continue }
      if token.takesSpaceBefore {
        while start > done, Self.space.isBefore(text, start) { start = text.scalarStart(before: start) }
      }
      if token.takesSpaceAfter { while Self.space.isAt(text, end) { end += Utf8.length(text[end]) } }
      if start > done { result.append((done..<start, nil)) }
      result.append((start..<end, token))
      (done, at) = (end, end)
    }
    if done < text.endIndex { result.append((done..<text.endIndex, nil)) }
    return result
  }

  /// The longest of the tokens that `text` has at `at` and that are `wanted`.
  private func first(_ text: ArraySlice<UInt8>, _ at: Int, where wanted: (AddedToken) -> Bool) -> AddedToken? {
    byFirst[Int(text[at])].first { wanted($0) && text[at...].starts(with: $0.content) }
  }

  private static let space = ScalarSet([.space(isNegated: false)])

  /// A word's character as Rust's regular expressions have it.
  private static let word = ScalarSet([
    .alphabetic, .categories(categoryBits("M") | categoryBits("Nd") | categoryBits("Pc"), isNegated: false),
    .range(0x200C...0x200D),
  ])
}

extension ArraySlice<UInt8> {
  /// Where the scalar before `at` begins.
  func scalarStart(before at: Int) -> Int {
    var start = at - 1
    while self[start] & 0xC0 == 0x80 { start -= 1 }
    return start
  }
}

extension ScalarSet {
  /// Whether it has the scalar of `text` that begins at `at`; false at the end.
  func isAt(_ text: ArraySlice<UInt8>, _ at: Int) -> Bool {
    guard at < text.endIndex else { return false }
    return text[at...].withUnsafeBufferPointer { contains(Utf8.scalar($0, 0)) }
  }

  func isBefore(_ text: ArraySlice<UInt8>, _ at: Int) -> Bool {
    at > text.startIndex && isAt(text, text.scalarStart(before: at))
  }
}
