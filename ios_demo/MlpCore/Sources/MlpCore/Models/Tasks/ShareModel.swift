import Foundation
import Observation

/// The share extension's screen: takes what another app shares, and says how to go on. An extension has too little
/// memory for a model and must not open its app, so that the text waits there.
@MainActor
@Observable
public final class ShareModel {
  public enum State: Equatable, Sendable {
    case reading
    case kept
    case refused(String)
  }

  public private(set) var state: State = .reading

  private let inbox: ShareInbox?

  /// nil where the app group is missing, as in an app that was signed without it.
  public init(inbox: ShareInbox?) { self.inbox = inbox }

  public var title: String {
    switch state {
    case .reading: text("share.reading")
    case .kept: text("share.kept")
    case .refused: text("share.refused")
    }
  }

  public var message: String {
    switch state {
    case .reading: ""
    case .kept: text("share.keptAbout", text("app.name"))
    case .refused(let sentence): sentence
    }
  }

  /// `data` is what was shared, `name` that of its file.
  public func take(_ data: Data, name: String?) async {
    let inbox = inbox
    state = await run(on: DispatchQueue.global(qos: .userInitiated)) { keep(data, name: name, in: inbox) }
  }

  /// The other app gave nothing, or could not.
  public func fail(_ error: (any Error)?) {
    state = .refused(error.map { text("share.failed", sentence($0)) } ?? text("task.noText"))
  }
}

private func keep(_ data: Data, name: String?, in inbox: ShareInbox?) -> ShareModel.State {
  guard let inbox else { return .refused(text("share.noGroup")) }
  let most = TextDocument.mostBytes
  switch TextDocument.read(data, mostBytes: most) {
  case .refused(let problem, let position):
    return .refused(refusal(problem, position, name: name ?? text("share.text"), mostBytes: most))
  case .text(let words):
    do {
      try inbox.add(words, name: name)
      return .kept
    } catch let full as ShareInbox.Full {
      return .refused(text("share.full", formatted(full.items), text("app.name")))
    } catch {
      return .refused(sentence(error))
    }
  }
}
