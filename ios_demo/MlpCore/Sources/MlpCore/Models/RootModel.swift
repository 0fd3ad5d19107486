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
  public let bundles: BundlesModel
  public let task: TaskModel
  public let document: DocumentModel

  private let app: AppModel

  public init(_ app: AppModel) {
    self.app = app
    conversations = ConversationsModel(app)
    bundles = BundlesModel(app.bundles, unload: { [host = app.host] in await host.unload($0) })
    task = TaskModel(app.tasks, inbox: app.inbox)
    document = DocumentModel(app.tasks, folder: app.folders.support.appendingPathComponent("document"))
    conversations.deleted = { [weak self] in self?.forget($0) }
    bundles.open = { [weak self] in self?.open($0.name, $1) }
    bundles.deleted = { [settings = app.settings] in settings.forget($0) }
  }

  /// False where no model can be opened.
  public var canStartNewChat: Bool { !app.bundles.library.candidates.isEmpty }

  /// A new conversation with the model that was used last.
  public func startNewChat() {
    guard let bundle = app.bundles.choice.choose(app.bundles.library) else { return }
    place = nil
    place = .chat(bundle: bundle.entry.name, conversation: nil)
  }

  /// Opens a new conversation, or a document, with the bundle in the folder of that name.
  public func open(_ bundle: String, _ target: BundlesModel.Target = .chat) {
    app.bundles.choice.used(bundle)
    place = nil
    place = target == .chat ? .chat(bundle: bundle, conversation: nil) : .document
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
