import MlpCore
import SwiftUI

/// Conversations beside what is open; on an iPhone one after the other.
struct RootView: View {
  @Bindable var root: RootModel

  var body: some View {
    NavigationSplitView {
      ConversationsView(root: root, model: root.conversations)
    } detail: {
      NavigationStack { detail }
    }
    .task { await root.start() }
    .onOpenURL { url in
      root.place = .document
      Task { await root.document.open(url, access: CoordinatedFiles()) }
    }
  }

  @ViewBuilder private var detail: some View {
    switch root.place {
    case .models: BundlesView(model: root.bundles)
    case .chat: if let chat = root.chat { ChatView(model: chat) }
    default:
      ContentUnavailableView(text("app.name"), systemImage: "text.bubble", description: Text(text("root.nothing")))
    }
  }
}
