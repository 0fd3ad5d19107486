import Foundation

/// Of a conversation that outgrew the context: the first message that the model is still given.
@MainActor
public final class ContextWindows {
  private let store: StoredValues<String>

  public init(file: URL) { store = StoredValues(file: file) }

  /// The message's id; nil: the model is given all.
  subscript(conversation: String) -> String? {
    get { store[conversation] }
    set { store[conversation] = newValue }
  }
}
