import Foundation

/// Says what the model does with a request, and the time that is left of a long prefill.
@MainActor
public final class WorkStatus {
  /// `fraction` is nil where nobody knows how long it takes.
  public struct Line: Equatable, Sendable {
    public var text: String
    public var fraction: Double?
  }

  private let speeds: PrefillSpeeds
  private let loading: (ModelBundle) -> String
  private let clock: () -> Double
  private var tag: String?
  private var begun: (tokens: Int, time: Double)?

  /// `loading` says that a bundle is loaded, `clock` gives seconds.
  public init(
    speeds: PrefillSpeeds, loading: @escaping (ModelBundle) -> String,
    clock: @escaping () -> Double = { ProcessInfo.processInfo.systemUptime }
  ) {
    self.speeds = speeds
    self.loading = loading
    self.clock = clock
  }

  /// nil where `request` is not the one that the model works on.
  func describe(_ state: ModelHost.State, of request: ModelHost.Request) -> Line? {
    state.request?.tag == request.tag ? describe(state) : nil
  }

  /// nil where nothing is done.
  public func describe(_ state: ModelHost.State) -> Line? {
    switch state {
    case .loading(let request): Line(text: loading(request.bundle), fraction: nil)
    case .working(let request, let prefilled, let total, let text):
      working(request, prefilled: prefilled, total: total, text: text)
    default: nil
    }
  }

  private func working(_ request: ModelHost.Request, prefilled: Int, total: Int, text answer: String) -> Line {
    if total == 0 || prefilled >= total || !answer.isEmpty { return Line(text: text("work.writing"), fraction: nil) }
    let (done, all) = (formatted(prefilled), formatted(total))
    let seconds = secondsLeft(request, prefilled: prefilled, total: total)
    let words = seconds.map { text("work.prefillLeft", done, all, formattedDuration($0)) }
    return Line(text: words ?? text("work.prefill", done, all), fraction: Double(prefilled) / Double(total))
  }

  /// From the speed since the first slice was seen, until then from earlier prompts; nil where nothing is known.
  private func secondsLeft(_ request: ModelHost.Request, prefilled: Int, total: Int) -> Int? {
    let left = total - prefilled
    if let begun, request.tag == tag, prefilled >= begun.tokens {
      let (tokens, seconds) = (prefilled - begun.tokens, clock() - begun.time)
      if tokens > 0, seconds > 0 { return Int(seconds * Double(left) / Double(tokens)) + 1 }
    } else {
      tag = request.tag
      begun = (prefilled, clock())
    }
    return speeds[request.bundle.name].map { Int(Double(left) / $0) + 1 }
  }
}

/// "45 sec" or "2 min".
func formattedDuration(_ seconds: Int) -> String {
  seconds < 90 ? text("work.seconds", formatted(seconds)) : text("work.minutes", formatted((seconds + 30) / 60))
}
