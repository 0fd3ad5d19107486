import MlpCore
import SwiftUI
import UIKit

@main
struct MlpDemoApp: App {
  @State private var app: AppModel
  @State private var root: RootModel
  @Environment(\.scenePhase) private var phase

  init() {
    let app = AppModel.live()
    _app = State(initialValue: app)
    let root = RootModel(app, arguments: ProcessInfo.processInfo.arguments)
    _root = State(initialValue: root)
    offerShortcuts(root.task)
  }

  var body: some Scene {
    WindowGroup {
      RootView(root: root)
        .environment(app)
        .onReceive(NotificationCenter.default.publisher(for: UIApplication.didReceiveMemoryWarningNotification)) { _ in
          Task { await app.memoryWarning() }
        }
        // A long prompt is read for minutes, and a device that sleeps suspends the app.
        .onChange(of: app.host.isBusy || root.bench.isRunning) { _, isBusy in
          UIApplication.shared.isIdleTimerDisabled = isBusy
        }
    }
    .onChange(of: phase) { _, phase in
      switch phase {
      case .background: app.enteredBackground()
      case .active: app.enteredForeground()
      default: break
      }
    }
  }
}
