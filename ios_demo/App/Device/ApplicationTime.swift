import MlpCore
import UIKit

/// The system's time in the background.
@MainActor
final class ApplicationTime: BackgroundTime {
  private var task = UIBackgroundTaskIdentifier.invalid

  func begin(expired: @escaping @MainActor () -> Void) {
    end()
    task = UIApplication.shared.beginBackgroundTask(withName: "answer") { expired() }
  }

  func end() {
    if task == .invalid { return }
    UIApplication.shared.endBackgroundTask(task)
    task = .invalid
  }
}
