import MlpCore
import SwiftUI

/// The sidebar: models and tools, then all conversations.
struct ConversationsView: View {
  @Bindable var root: RootModel
  @Bindable var model: ConversationsModel

  var body: some View {
    List(selection: $root.place) {
      Section {
        place(.models, "bundles.title", "shippingbox")
        place(.tasks, "root.tasks", "wand.and.stars")
        place(.document, "root.document", "doc.text")
      }
      Section(text("conversations.title")) {
        if model.rows.isEmpty { Text(model.emptyText).foregroundStyle(.secondary) }
        ForEach(model.rows) { row in
          NavigationLink(value: RootModel.Place.chat(bundle: row.bundle, conversation: row.id)) {
            ConversationRow(row: row)
          }
          .swipeActions {
            // Without the role, for which the list takes the row away at once: the question comes first.
            Button(text("conversations.delete")) { model.deleting = row }.tint(.red)
            Button(text("conversations.rename")) { model.askToRename(row) }
          }
          .contextMenu { ConversationActions(row: row, model: model) }
        }
      }
    }
    .navigationTitle(text("app.name"))
    .searchable(text: $model.query, prompt: Text(text("conversations.search")))
    .toolbar {
      ToolbarItem(placement: .primaryAction) {
        Button {
          root.startNewChat()
        } label: {
          Label(text("chat.new"), systemImage: "square.and.pencil")
        }
        .disabled(!root.canStartNewChat)
        .keyboardShortcut("n")
      }
    }
    .task { await model.refresh() }
    .alert(text("conversations.rename"), isPresented: $model.isRenaming, presenting: model.renaming) { row in
      TextField(text("conversations.name"), text: $model.newTitle)
      Button(text("conversations.rename")) { model.rename(row) }
      Button(text("chat.cancel"), role: .cancel) {}
    }
    .confirmationDialog(
      text("conversations.deleteQuestion"), isPresented: $model.isDeleting, titleVisibility: .visible,
      presenting: model.deleting
    ) { row in
      Button(text("conversations.delete"), role: .destructive) { model.delete(row) }
    } message: { row in
      Text(model.deletionText(row))
    }
    .alert(model.problem ?? "", isPresented: $model.hasProblem) { Button(text("chat.close"), role: .cancel) {} }
  }

  private func place(_ place: RootModel.Place, _ key: String, _ symbol: String) -> some View {
    NavigationLink(value: place) { Label(text(key), systemImage: symbol) }
  }
}

/// A view of its own: the conversation is read from the disk when its menu opens, not when its row is shown.
private struct ConversationActions: View {
  let row: ConversationsModel.Row
  let model: ConversationsModel

  var body: some View {
    Button(text("conversations.rename"), systemImage: "pencil") { model.askToRename(row) }
    ShareLink(item: model.export(row)) { Label(text("chat.share"), systemImage: "square.and.arrow.up") }
    Button(text("conversations.delete"), systemImage: "trash", role: .destructive) { model.deleting = row }
  }
}

private struct ConversationRow: View {
  let row: ConversationsModel.Row

  var body: some View {
    VStack(alignment: .leading, spacing: 2) {
      Text(row.title).lineLimit(2)
      if !row.snippet.isEmpty { Text(row.snippet).font(.subheadline).foregroundStyle(.secondary).lineLimit(1) }
      Text(row.about).font(.caption).foregroundStyle(.secondary)
    }
    .accessibilityElement(children: .combine)
  }
}
