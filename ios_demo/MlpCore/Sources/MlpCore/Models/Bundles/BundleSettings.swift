import Foundation

/// What the user set for each bundle, by the bundle's name.
@MainActor
public final class BundleSettings {
  private struct Stored: Codable {
    var systemPrompt: String?
    var temperature: Double
    var maxNewTokens: Int
  }

  private let store: StoredValues<Stored>

  public init(file: URL) { store = StoredValues(file: file) }

  public subscript(bundle: String) -> GenerationSettings {
    get {
      guard let stored = store[bundle] else { return GenerationSettings() }
      return GenerationSettings(
        systemPrompt: stored.systemPrompt, temperature: min(max(stored.temperature, 0), 1),
        maxNewTokens: max(stored.maxNewTokens, 1))
    }
    set {
      store[bundle] = Stored(
        systemPrompt: newValue.systemPrompt, temperature: newValue.temperature, maxNewTokens: newValue.maxNewTokens)
    }
  }

  /// Back to the defaults, as for a bundle that was deleted.
  public func forget(_ bundle: String) { store[bundle] = nil }
}
