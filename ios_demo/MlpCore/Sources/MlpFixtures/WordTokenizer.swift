import MlpCore

/// Counts words exactly as `FakeEngine` does. The first of `special` has id 1, and so on.
public struct WordTokenizer: Tokenizer {
  private let special: [String]

  public init(special: [String] = ["<|im_start|>", "<|im_end|>"]) { self.special = special }

  public var inexactBecause: String? { nil }

  public func count(_ text: String) -> TokenCount { TokenCount(FakeEngine.words(text).count, isExact: true) }

  public func tokens(before rest: String, in whole: String) -> TokenCount? {
    let (all, own) = (FakeEngine.words(whole), FakeEngine.words(rest))
    guard all.suffix(own.count).map({ Array($0.utf8) }) == own.map({ Array($0.utf8) }) else { return nil }
    return TokenCount(all.count - own.count, isExact: true)
  }

  public func special(in message: String) -> String? { special.first { message.contains($0) } }

  public func spelling(_ id: Int) -> String? { special.indices.contains(id - 1) ? special[id - 1] : nil }

  public func slices(_ text: String, size: Int) -> [String] {
    let words = FakeEngine.words(text)
    let slices = stride(from: 0, to: words.count, by: size).map { words[$0..<min($0 + size, words.count)].joined() }
    return slices.isEmpty ? [""] : slices
  }
}
