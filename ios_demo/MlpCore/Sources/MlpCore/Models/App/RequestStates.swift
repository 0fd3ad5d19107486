extension ModelHost.State {
  /// How it stands with `request`, whose tag is its own.
  func progress(of request: ModelHost.Request) -> RequestProgress {
    switch self {
    case .done(let other, let answer) where other.tag == request.tag: .done(answer)
    case .failed(let other, let problem, let text) where other.tag == request.tag: .failed(problem, text: text)
    default: .running
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
}
