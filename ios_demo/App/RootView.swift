import MlpCore
import SwiftUI

/// Conversations beside what is open; on an iPhone one after the other.
struct RootView: View {
  @Bindable var root: RootModel
  @Environment(\.scenePhase) private var phase

  var body: some View {
    NavigationSplitView {
      ConversationsView(root: root, model: root.conversations)
    } detail: {
      NavigationStack { detail }
    }
    .task { await root.start() }
    // A shortcut, or text that another app shared.
    .onChange(of: root.task.isPresented, initial: true) { _, isPresented in if isPresented { root.place = .tasks } }
    .onChange(of: phase, initial: true) { _, phase in
      if phase == .active { Task { await root.task.receive() } }
    }
    .onOpenURL { url in
      root.place = .document
      Task { await root.document.open(url, access: CoordinatedFiles()) }
    }
  }

  @ViewBuilder private var detail: some View {
    switch root.place {
    case .models: BundlesView(model: root.bundles)
    case .chat: if let chat = root.chat { ChatView(model: chat) }
    case .tasks: TaskView(model: root.task)
    case .document: DocumentView(model: root.document)
    case .bench: BenchView(model: root.bench)
    case nil:
      ContentUnavailableView(text("app.name"), systemImage: "text.bubble", description: Text(text("root.nothing")))
    }
  }
}
