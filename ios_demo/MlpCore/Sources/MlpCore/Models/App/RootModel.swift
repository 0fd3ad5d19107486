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
    didSet {
      showsPlace = place != nil
      if place != oldValue { show() }
    }
  }

  /// On an iPhone, which shows one of the two: `place`, or the sidebar, to which people go back. Not every place has a
  /// row in the sidebar, so that its selection alone would not show a new chat or a benchmark.
  public var showsPlace = false

  /// The chat that is shown.
  public private(set) var chat: ChatModel?
  public let conversations: ConversationsModel
  public let bundles: BundlesModel
  public let task: TaskModel
  public let document: DocumentModel
  public let bench: BenchModel

  private let app: AppModel
  private let wanted: String?  // the bundle that a computer pushed and wants to see open

  /// `arguments` of the launch: `--bundle NAME` opens a bundle, `--bench PLAN` measures one.
  public init(_ app: AppModel, arguments: [String] = []) {
    self.app = app
    wanted = arguments.firstIndex(of: "--bundle").flatMap { $0 + 1 < arguments.count ? arguments[$0 + 1] : nil }
    bench = BenchModel(
      plan: BenchModel.plan(in: arguments), folders: app.folders, device: app.device, host: app.host,
      bundles: app.bundles.library.repository, ledger: app.bundles.library.ledger, engines: app.engines,
      tokenizers: app.tokenizers)
    conversations = ConversationsModel(app)
    bundles = BundlesModel(app.bundles, unload: { [host = app.host] in await host.unload($0) })
    // What was shared would be opened over a measurement, and end it.
    task = TaskModel(app.tasks, inbox: bench.isWanted ? nil : app.inbox)
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
    place = nil
    switch target {
    case .chat: place = .chat(bundle: bundle, conversation: nil)
    case .document:
      place = .document
      Task {
        await document.appear()  // what was open the last time chooses its own model
        await document.choose(bundle)
      }
    }
  }

  /// The first look at the disk. Without a model there is nothing to do but get one.
  public func start() async {
    if bench.isWanted {
      place = .bench  // and nothing else: hashing files would be measured, too
      return
    }
    await app.bundles.library.refresh()
    await conversations.refresh()
    if let wanted {
      place = .models
      bundles.open(wanted)
    } else if place == nil, app.bundles.library.candidates.isEmpty {
      place = .models
    }
  }

  /// Text that another app shared waits, but not during a benchmark, which its screen would end.
  public func becameActive() async {
    if !bench.isWanted { await task.receive() }
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
      if chat === model {
        let wasShown = showsPlace
        place = .chat(bundle: bundle, conversation: model.id)
        showsPlace = wasShown  // an answer ended, and no one asked for its screen
      }
      conversations.refreshSoon()
    }
    chat = model
  }

  private func forget(_ conversation: String) {
    app.drafts["", conversation] = ""
    if case .chat(_, conversation) = place { place = nil }
  }
}
