import MlpCore
import SwiftUI

/// Conversations beside what is open; on an iPhone one after the other.
struct RootView: View {
  @Bindable var root: RootModel
  @Environment(\.scenePhase) private var phase

  var body: some View {
    NavigationSplitView(preferredCompactColumn: column) {
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

  private var column: Binding<NavigationSplitViewColumn> {
    Binding(get: { root.showsPlace ? .detail : .sidebar }, set: { root.showsPlace = $0 == .detail })
  }

  @ViewBuilder private var detail: some View {
    switch root.place {
    case .models: BundlesView(model: root.bundles)
    // Each chat has its own screen: what is typed in, asked or scrolled belongs to one.
    case .chat: if let chat = root.chat { ChatView(model: chat).id(ObjectIdentifier(chat)) }
    case .tasks: TaskView(model: root.task)
    case .document: DocumentView(model: root.document)
    case .bench: BenchView(model: root.bench)
    case nil:
      ContentUnavailableView(text("app.name"), systemImage: "text.bubble", description: Text(text("root.nothing")))
    }
  }
}
