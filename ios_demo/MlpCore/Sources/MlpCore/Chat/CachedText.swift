/// What the engine's KV cache holds, as text; unknown after a failure, and before the first reset.
struct CachedText {
  /// A text and its tokens.
  struct Held {
    var text = ""
    var tokens = 0

    func plus(_ added: String, _ count: Int) -> Held { Held(text: text + added, tokens: tokens + count) }
  }

  private static let lookahead = 32  // characters; words are split by one or two

  private var held: Held?

  private var followedBy = ""  // what was to come next, where a prompt was fed in part

  var tokens: Int { held?.tokens ?? 0 }

  /// What is to be fed after the cached text to make `text`; nil where it does not begin with it, or has no more.
  func rest(of text: String) -> String? {
    guard let start = held?.text.utf8, text.utf8.count > start.count, text.utf8.starts(with: start) else { return nil }
    let rest = String(text[text.utf8.index(text.startIndex, offsetBy: start.count)...])
    return rest.utf8.starts(with: followedBy.utf8) ? rest : nil
  }

  /// The cached text is part of a prompt that goes on with `text`; with another, its last token may be another.
  mutating func cut(before text: String) { followedBy = text.scalars(Self.lookahead) }

  mutating func forget() { held = nil }

  mutating func put(_ new: Held) {
    followedBy = ""
    held = new
  }

  mutating func add(_ text: String, _ tokens: Int) {
    followedBy = ""
    held = held?.plus(text, tokens)
  }

  /// What is held, which is unknown from here on until it is put.
  mutating func take() -> Held? {
    defer { held = nil }
    return held
  }
}
