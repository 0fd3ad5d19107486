import Foundation
import Observation

/// Which screen is shown: the choice in the sidebar of an iPad, and what is on top of the stack of an iPhone.
@MainActor
@Observable
public final class RootModel {
  public enum Place: Hashable, Sendable {
    case models, tasks, document, bench
    case chat(bundle: String, conversation: String?)
  }

  public var place: Place? {
    didSet { if place != oldValue { show() } }
  }

  /// The chat that is shown.
  public private(set) var chat: ChatModel?
  public let conversations: ConversationsModel

  private let app: AppModel

  public init(_ app: AppModel) {
    self.app = app
    conversations = ConversationsModel(app)
    conversations.deleted = { [weak self] in self?.forget($0) }
  }

  /// The bundle that a new conversation is with; nil where none can be opened.
  public var newChat: Place? {
    app.bundles.choice.choose(app.bundles.library).map { .chat(bundle: $0.entry.name, conversation: nil) }
  }

  /// Opens a new conversation with the bundle in the folder of that name.
  public func open(_ bundle: String) {
    app.bundles.choice.used(bundle)
    place = nil
    place = .chat(bundle: bundle, conversation: nil)
  }

  /// The first look at the disk. Without a model there is nothing to do but get one.
  public func start() async {
    await app.bundles.library.refresh()
    await conversations.refresh()
    if place == nil, app.bundles.library.candidates.isEmpty { place = .models }
  }

  private func show() {
    guard case .chat(let bundle, let id) = place else {
      chat = nil
      return
    }
    // The chat itself began or left its conversation.
    if let chat, chat.bundleName == bundle, chat.id == id { return }
    let model = ChatModel(app, bundle: bundle, conversation: id)
    model.showModel = { [weak self] in self?.place = .models }
    model.changed = { [weak self, weak model] in
      guard let self, let model else { return }
      if chat === model { place = .chat(bundle: bundle, conversation: model.id) }
      conversations.refreshSoon()
    }
    chat = model
  }

  private func forget(_ conversation: String) {
    if case .chat(_, conversation) = place { place = nil }
  }
}
