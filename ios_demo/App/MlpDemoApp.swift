import MlpCore
import SwiftUI

@main
struct MlpDemoApp: App {
  var body: some Scene {
    WindowGroup { Text(text("app.name")) }
  }
}
