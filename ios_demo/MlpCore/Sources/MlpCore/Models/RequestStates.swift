extension ModelHost.State {
  /// How it stands with `request`, whose tag is its own.
  func progress(of request: ModelHost.Request) -> RequestProgress {
    guard self.request?.tag == request.tag else { return .lost }
    switch self {
    case .idle, .loading, .working: return .running
    case .done(_, let answer): return .done(answer)
    case .failed(_, let problem, let text): return .failed(problem, text: text)
    }
  }

  /// The text so far where it belongs to `request`.
  func text(of request: ModelHost.Request) -> String? {
    if case .working(let other, _, _, let text) = self, other.tag == request.tag { text } else { nil }
  }
}

enum RequestProgress {
  case running
  case done(Answer)
  case failed(any Error, text: String)
  case lost  // another request came before its end was seen
}
