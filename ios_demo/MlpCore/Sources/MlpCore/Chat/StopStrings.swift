/// Holds back text that may be the beginning of a stop string, and cuts at the first one that is complete. Compares
/// bytes: characters that are canonically equivalent are other tokens, and so other text.
struct StopStrings {
  private let stops: [[UInt8]]
  private var held: [UInt8] = []

  /// Whether a stop string was complete: nothing more is visible.
  private(set) var isFound = false

  init(_ stops: [String]) { self.stops = stops.filter { !$0.isEmpty }.map { Array($0.utf8) } }

  /// The text that is certain once `piece` is there.
  mutating func push(_ piece: String) -> String {
    if isFound { return "" }
    let text = held + piece.utf8
    if let cut = stops.compactMap({ Self.place(of: $0, in: text) }).min() {
      isFound = true
      held = []
      return String(decoding: text[..<cut], as: UTF8.self)
    }
    let certain = text.count - (stops.map { Self.overlap(text, $0) }.max() ?? 0)
    held = Array(text[certain...])
    return String(decoding: text[..<certain], as: UTF8.self)
  }

  /// What is held back, when no more text comes.
  mutating func flush() -> String {
    defer { held = [] }
    return String(decoding: held, as: UTF8.self)
  }

  private static func place(of stop: [UInt8], in text: [UInt8]) -> Int? {
    guard stop.count <= text.count else { return nil }
    return (0...text.count - stop.count).first { text[$0] == stop[0] && text[$0...].starts(with: stop) }
  }

  /// Length of the longest end of `text` that is a beginning of `stop` and not all of it.
  private static func overlap(_ text: [UInt8], _ stop: [UInt8]) -> Int {
    let longest = min(text.count, stop.count - 1)
    return (0...longest).reversed().first { stop.starts(with: text.suffix($0)) } ?? 0
  }
}
