import Foundation
import Observation

/// All conversations, the last changed first: search, rename, export, delete.
@MainActor
@Observable
public final class ConversationsModel {
  public struct Row: Equatable, Sendable, Identifiable {
    public var id: String
    public var title: String
    public var snippet: String
    public var about: String
    public var bundle: String
  }

  public var query = "" {
    didSet { if query != oldValue { refreshSoon() } }
  }

  public private(set) var rows: [Row] = []
  /// What is to be renamed, and to what.
  public var renaming: Row?
  public var newTitle = ""
  public var deleting: Row?
  /// Why the store could not be written.
  public var problem: String?

  /// A conversation is gone.
  @ObservationIgnored public var deleted: (String) -> Void = { _ in }

  private let app: AppModel
  // One after the other: an older answer must not come last.
  @ObservationIgnored private let reader = DispatchQueue(label: "conversations", qos: .userInitiated)
  @ObservationIgnored private var refreshing: Task<Void, Never>?

  public init(_ app: AppModel) { self.app = app }

  /// What to say where there is no row.
  public var emptyText: String {
    let wanted = query.trimmed(\.isPythonSpace)
    return wanted.isEmpty ? text("conversations.none") : text("conversations.nothingFound", wanted)
  }

  /// Reads away from the main thread; only the newest question's answer is shown.
  public func refresh() async {
    let store = app.conversations
    let wanted = query.trimmed(\.isPythonSpace)
    let found = await run(on: reader) { (wanted.isEmpty ? store.list() : store.search(wanted)).map(Self.row) }
    if Task.isCancelled || wanted != query.trimmed(\.isPythonSpace) { return }
    rows = found
  }

  public func refreshSoon() {
    refreshing?.cancel()
    refreshing = Task { [weak self] in await self?.refresh() }
  }

  public func askToRename(_ row: Row) {
    newTitle = row.title
    renaming = row
  }

  public func rename(_ row: Row) {
    renaming = nil
    let title = newTitle.trimmed(\.isPythonSpace)
    if title.isEmpty { return }
    changing { try app.conversations.rename(row.id, title: title) }
  }

  public func delete(_ row: Row) {
    deleting = nil
    if changing({ try app.chats.delete(row.id) }) { deleted(row.id) }
  }

  public func deletionText(_ row: Row) -> String { text("conversations.deleteText", row.title) }

  // What is open over the list. SwiftUI closes a dialog before it runs the chosen action.

  public var isRenaming: Bool {
    get { renaming != nil }
    set { if !newValue { renaming = nil } }
  }

  public var isDeleting: Bool {
    get { deleting != nil }
    set { if !newValue { deleting = nil } }
  }

  public var hasProblem: Bool {
    get { problem != nil }
    set { if !newValue { problem = nil } }
  }

  /// The conversation as text to share.
  public func export(_ row: Row) -> String { app.conversations.read(row.id).map(exportText) ?? "" }

  @discardableResult
  private func changing(_ change: () throws -> Void) -> Bool {
    defer { refreshSoon() }
    do {
      try change()
      return true
    } catch {
      problem = sentence(error)
      return false
    }
  }

  private nonisolated static func row(_ conversation: Conversation) -> Row {
    let last = conversation.messages.last { !$0.text.isBlank }?.text ?? ""
    let day = conversation.changed.formatted(
      .dateTime.day().month(.abbreviated).hour().minute().locale(Locale(identifier: text("locale"))))
    return Row(
      id: conversation.id, title: conversationTitle(conversation),
      snippet: last.prefix(200).replacingOccurrences(of: "\n", with: " "),
      about: text("conversations.about", conversation.bundle, day), bundle: conversation.bundle)
  }
}
