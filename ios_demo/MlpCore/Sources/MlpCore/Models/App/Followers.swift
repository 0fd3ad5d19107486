import Foundation
import Observation

/// Calls `changed` after each change of what `read` reads, until it is freed; for models that have to know also while
/// no screen is shown. Several changes in one turn of the main actor are one: states of `ModelHost` need its `listen`.
@MainActor
final class Follower {
  private let read: @MainActor () -> Void
  private let changed: @MainActor () -> Void

  init(_ read: @escaping @MainActor () -> Void, changed: @escaping @MainActor () -> Void) {
    self.read = read
    self.changed = changed
    watch()
  }

  private func watch() {
    withObservationTracking(read) { [weak self] in
      // It is called before the change; the next turn of the main actor sees it.
      Task { @MainActor in self?.next() }
    }
  }

  private func next() {
    watch()
    changed()
  }
}
