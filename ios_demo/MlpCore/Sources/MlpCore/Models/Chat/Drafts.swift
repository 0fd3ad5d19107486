import Foundation

/// What was written in chats and not sent yet. A chat that is left keeps it, and so does an app that the system ends
/// while it is in the background.
@MainActor
final class Drafts {
  private static let all = "drafts"

  private let store: StoredValues<[String: String]>
  private var texts: [String: String]

  init(file: URL) {
    store = StoredValues(file: file)
    texts = store[Self.all] ?? [:]
  }

  /// Of a new conversation with `bundle` where `conversation` is nil.
  subscript(bundle: String, conversation: String?) -> String {
    get { texts[key(bundle, conversation)] ?? "" }
    set { texts[key(bundle, conversation)] = newValue.isEmpty ? nil : newValue }
  }

  /// Each letter changes a draft: they are written when the app leaves the screen.
  func save() { if texts != store[Self.all] ?? [:] { store[Self.all] = texts } }

  private func key(_ bundle: String, _ conversation: String?) -> String { conversation ?? "new/\(bundle)" }
}
