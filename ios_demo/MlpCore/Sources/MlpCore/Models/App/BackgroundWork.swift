import Foundation

/// Asks the system for time in the background. The app has the real one.
@MainActor
public protocol BackgroundTime: AnyObject {
  /// Asks for time; `expired` is called when it ends, shortly before the app is suspended.
  func begin(expired: @escaping @MainActor () -> Void)
  /// Gives the rest of it back; the system ends an app that does not.
  func end()
}

/// Lets an answer go on for as long as the system allows once the app has left the screen, and ends it before the app is
/// suspended: what was written by then is stored, and marked as interrupted.
@MainActor
final class BackgroundWork {
  private let host: ModelHost
  private let time: any BackgroundTime
  private let patience: Duration
  private var isInBackground = false
  private var hasTime = false
  private var listener: ModelHost.Listener?

  /// `patience`: how long an answer may take to stop when the time is up.
  init(_ host: ModelHost, time: any BackgroundTime, patience: Duration = .seconds(3)) {
    self.host = host
    self.time = time
    self.patience = patience
    listener = host.listen { [weak self] _ in self?.update() }
  }

  func enteredBackground() {
    isInBackground = true
    update()
  }

  func enteredForeground() {
    isInBackground = false
    update()
  }

  private func update() {
    let isNeeded = isInBackground && host.isBusy
    if isNeeded == hasTime { return }
    hasTime = isNeeded
    if isNeeded {
      time.begin { [weak self] in self?.expired() }
    } else {
      time.end()
    }
  }

  private func expired() {
    host.stop(.background)
    // A stop waits for the slice of a prompt that is in the runtime; the system does not.
    Task { [weak self, patience] in
      try? await Task.sleep(for: patience)
      self?.giveBack()
    }
  }

  private func giveBack() {
    guard hasTime, isInBackground else { return }
    hasTime = false
    isInBackground = false  // no more is given until the app comes back
    time.end()
  }
}
