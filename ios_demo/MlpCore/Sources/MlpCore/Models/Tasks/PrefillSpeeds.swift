import Foundation

/// How fast each bundle's prompts were read on this device, in tokens per second.
@MainActor
public final class PrefillSpeeds {
  // Fewer tokens are one call, whose time is mostly not theirs.
  private static let enoughTokens = 64

  private let file: URL
  private var speeds: [String: Double]
  private var listener: ModelHost.Listener?

  public init(file: URL) {
    self.file = file
    speeds = (try? JSONDecoder().decode([String: Double].self, from: Data(contentsOf: file))) ?? [:]
  }

  /// nil until a prompt was long enough to tell.
  public subscript(bundle: String) -> Double? { speeds[bundle].flatMap { $0 > 0 ? $0 : nil } }

  /// Learns from each answer of `host`.
  public func follow(_ host: ModelHost) {
    listener = host.listen { [weak self] state in
      if case .done(let request, let answer) = state { self?.learn(request.bundle.name, answer.statistics) }
    }
  }

  /// Where it cannot be stored, as on a full device, it is learned anew.
  func learn(_ bundle: String, _ statistics: AnswerStatistics) {
    guard let speed = statistics.prefillTokensPerSecond, statistics.promptTokens >= Self.enoughTokens else { return }
    speeds[bundle] = speed
    try? JSONEncoder().encode(speeds).write(to: file, options: .atomic)
  }
}
