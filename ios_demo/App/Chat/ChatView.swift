import MlpCore
import SwiftUI
import UIKit

/// One conversation: its messages, what stands against the next one, and the field for it.
struct ChatView: View {
  @Bindable var model: ChatModel
  @Environment(AppModel.self) private var app
  @State private var isSettingUp = false
  @FocusState private var isWriting: Bool

  var body: some View {
    ScrollView {
      LazyVStack(alignment: .leading, spacing: 16) {
        if model.isEmpty { suggestions }
        ForEach(model.rows) { MessageView(row: $0, model: model, edit: edit) }
      }
      .padding()
      .frame(maxWidth: 760)
      .frame(maxWidth: .infinity)
    }
    .defaultScrollAnchor(.bottom)
    .scrollDismissesKeyboard(.interactively)
    .safeAreaInset(edge: .bottom) { ChatInput(model: model, isWriting: $isWriting) }
    .navigationTitle(model.title)
    .navigationBarTitleDisplayMode(.inline)
    .toolbar { ToolbarItem(placement: .primaryAction) { ChatMenu(model: model, isSettingUp: $isSettingUp) } }
    .task { await model.appear() }
    .onChange(of: model.notice) { _, notice in
      if let notice { UIAccessibility.post(notification: .announcement, argument: notice) }
    }
    .task(id: model.notice) {
      try? await Task.sleep(for: .seconds(3))
      if !Task.isCancelled { model.notice = nil }
    }
    .alert(text("chat.statistics"), isPresented: $model.showsStatistics) {
      Button(text("chat.close"), role: .cancel) {}
    } message: {
      Text(model.statistics ?? "")
    }
    .sheet(isPresented: $isSettingUp) { SettingsView(model: SettingsModel(app, bundle: model.bundleName)) }
  }

  private var suggestions: some View {
    VStack(alignment: .leading, spacing: 12) {
      Text(text("chat.emptyTitle")).font(.title2.bold()).accessibilityAddTraits(.isHeader)
      Text(text("chat.emptyText")).foregroundStyle(.secondary)
      ForEach(model.suggestions, id: \.self) { suggestion in
        Button(suggestion) {
          model.draft = suggestion
          isWriting = true
        }
        .buttonStyle(.bordered)
      }
    }
    .padding(.vertical)
  }

  private func edit(_ message: String) {
    model.edit(message)
    isWriting = true
  }
}

/// A view of its own: what it shares is put together when the conversation changes, not with each token.
private struct ChatMenu: View {
  let model: ChatModel
  @Binding var isSettingUp: Bool

  var body: some View {
    Menu {
      Button(text("chat.new"), systemImage: "square.and.pencil", action: model.startNew).disabled(model.isEmpty)
      if model.canExport {
        ShareLink(item: model.export) { Label(text("chat.share"), systemImage: "square.and.arrow.up") }
      }
      Button(text("settings.title"), systemImage: "slider.horizontal.3") { isSettingUp = true }
    } label: {
      Label(text("chat.more"), systemImage: "ellipsis.circle")
    }
  }
}
