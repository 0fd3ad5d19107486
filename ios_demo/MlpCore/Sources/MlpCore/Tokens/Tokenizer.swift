import Foundation

/// A number of tokens, and whether it is what the runtime will count or an estimate.
public struct TokenCount: Equatable, Sendable {
  public var tokens: Int
  public var isExact: Bool

  public init(_ tokens: Int, isExact: Bool) {
    self.tokens = tokens
    self.isExact = isExact
  }

  public static func + (one: TokenCount, other: TokenCount) -> TokenCount {
    TokenCount(one.tokens + other.tokens, isExact: one.isExact && other.isExact)
  }
}

/// Counts tokens as the runtime's tokenizer will make them. Any thread may call it.
public protocol Tokenizer: Sendable {
  /// nil where counts are exact; else why they are estimates.
  var inexactBecause: String? { get }

  /// Tokens of `text`, in which special tokens are recognised.
  func count(_ text: String) -> TokenCount

  /// Tokens of `whole` before `rest`, with which it ends; nil where `rest` alone has other tokens than in its place, as
  /// behind a tokenizer that puts a space before each text.
  func tokens(before rest: String, in whole: String) -> TokenCount?

  /// The spelling of a special token in `message`, which a message must not have; nil where there is none.
  func special(in message: String) -> String?

  /// How the added token `id` is spelled in a text; nil where that is not known.
  func spelling(_ id: Int) -> String?

  /// `text` in slices of about `size` tokens. The tokens of the slices, one after the other, are the tokens of `text`,
  /// so that a prompt can be fed in steps. An estimating tokenizer cuts where words begin, which is nearly always so.
  func slices(_ text: String, size: Int) -> [String]
}

/// The tokenizer in a `tokenizer.json`. One of a kind that is not read here, or a damaged one, gives estimates and says
/// why in `inexactBecause`. Takes a second or more for a large vocabulary.
public func openTokenizer(_ file: URL) -> Tokenizer {
  var read = TokenizerFile()
  let problem: String
  do {
    let data = try Data(contentsOf: file)
    try data.withUnsafeBytes { try read.read($0.bindMemory(to: UInt8.self)) }
    return try BpeTokenizer(read)
  } catch let unknown as UnknownTokenizer {
    problem = unknown.what
  } catch let damage as JsonError {
    problem = "\(file.lastPathComponent) is damaged: \(damage)"
  } catch {
    problem = "cannot read \(file.lastPathComponent): \(error.localizedDescription)"
  }
  return EstimatingTokenizer(AddedTokens(read.added), because: problem)
}
