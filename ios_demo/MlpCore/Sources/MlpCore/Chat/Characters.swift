extension Unicode.Scalar {
  /// What Python's and so the templates' `strip` drops: Unicode's White_Space, and four separators.
  var isPythonSpace: Bool { properties.isWhitespace || ("\u{1C}"..."\u{1F}").contains(self) }
}

extension String {
  /// The first `count` Unicode scalars; a `Character` may have any number of them.
  func scalars(_ count: Int) -> String { String(String.UnicodeScalarView(unicodeScalars.prefix(count))) }

  var isBlank: Bool { unicodeScalars.allSatisfy(\.isPythonSpace) }

  /// This without the scalars at both ends that `drops`. Of "\r\n" and of combined characters it may drop a part.
  func trimmed(_ drops: (Unicode.Scalar) -> Bool) -> String { trimmed(start: drops, end: drops) }

  /// This without the scalars that `start` drops before all others, and then without those that `end` drops behind them.
  func trimmed(start: (Unicode.Scalar) -> Bool, end: (Unicode.Scalar) -> Bool) -> String {
    let rest = unicodeScalars.drop(while: start)
    guard let last = rest.lastIndex(where: { !end($0) }) else { return "" }
    return String(String.UnicodeScalarView(rest[...last]))
  }

  /// What stands behind the last place of `end`, compared byte by byte; nil where it is nowhere.
  func behindLast(_ end: String) -> String? {
    let (all, sought) = (Array(utf8), Array(end.utf8))
    guard !sought.isEmpty, sought.count <= all.count else { return nil }
    let place = (0...all.count - sought.count).last { all[$0...].starts(with: sought) }
    return place.map { String(decoding: all[($0 + sought.count)...], as: UTF8.self) }
  }
}

/// Decodes UTF-8 that comes in chunks which may end inside a character. Bytes that are no UTF-8 become U+FFFD, one for
/// each maximal part that begins a character.
///
/// For an engine whose runtime gives bytes: the rule that the three languages share in utf8.json. ExecuTorch's TextRunner
/// gives strings, in which such bytes are gone already: those are for `LostPieces`, and nothing of the app comes here.
public struct Utf8Assembler {
  private var held: [UInt8] = []

  public init() {}

  /// The whole characters once `bytes` are there.
  public mutating func push(_ bytes: some Sequence<UInt8>) -> String {
    held += bytes
    let whole = held.count - unfinished()
    defer { held.removeFirst(whole) }
    return String(decoding: held[..<whole], as: UTF8.self)
  }

  /// A replacement character for a part that is still held, when no more bytes come.
  public mutating func finish() -> String {
    defer { held = [] }
    return String(decoding: held, as: UTF8.self)
  }

  /// Bytes at the end that begin a character and may be continued.
  private func unfinished() -> Int {
    for count in 1...3 where count <= held.count {
      let tail = held[(held.count - count)...]
      guard let first = tail.first, first & 0xC0 != 0x80 else { continue }
      // A part that no byte can complete, such as E0 80, is decoded now.
      guard count < Utf8.length(first), let second = Utf8.secondBytes(after: first) else { return 0 }
      return tail.dropFirst().first.map(second.contains) ?? true ? count : 0
    }
    return 0
  }
}

/// Tells pieces whose text was lost: a token that is no whole characters comes as an empty piece. A run of them becomes
/// one U+FFFD, as soon as other text, or the end, shows that it is over.
struct LostPieces {
  private(set) var runs = 0
  private var run = 0  // pieces

  mutating func push(_ piece: String) -> String {
    guard !piece.isEmpty else {
      run += 1
      return ""
    }
    return finish() + piece
  }

  /// The last piece was no lost text: it was a token that ends the answer and has no spelling.
  mutating func lastWasEnd() { run = max(run - 1, 0) }

  /// U+FFFD for a run that is not over yet, when no more pieces come.
  mutating func finish() -> String {
    guard run > 0 else { return "" }
    run = 0
    runs += 1
    return "\u{FFFD}"
  }
}
