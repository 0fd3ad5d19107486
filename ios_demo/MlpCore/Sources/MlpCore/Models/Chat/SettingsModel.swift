import Foundation
import Observation

/// System prompt, temperature and longest answer of one bundle. What is valid is kept when the screen is left.
@MainActor
@Observable
public final class SettingsModel {
  public let bundleName: String
  public var systemPrompt = ""
  public var temperature = 0.0
  public var maxTokens = ""

  private let settings: BundleSettings
  private let manifest: Manifest?  // nil: the bundle is gone

  public init(_ app: AppModel, bundle: String) {
    bundleName = bundle
    settings = app.settings
    manifest = app.bundles.library.item(bundle)?.entry.bundle?.manifest
    fill()
  }

  public var takesSystemPrompt: Bool { manifest?.chat?.takesSystem ?? false }

  public var systemPromptAbout: String {
    text(takesSystemPrompt ? "settings.systemPromptAbout" : "settings.systemPromptNone")
  }

  public var temperatureText: String { formatted(temperature, digits: 1) }

  /// What the longest answer may be, or what is wrong with it.
  public var maxTokensAbout: String {
    let context = formatted(manifest?.context ?? Int(Int32.max))
    return validTokens == nil ? text("settings.maxTokensWrong", context) : text("settings.maxTokensAbout", context)
  }

  public var isMaxTokensWrong: Bool { validTokens == nil }

  public func save() {
    let prompt = systemPrompt.trimmed(\.isPythonSpace)
    settings[bundleName] = GenerationSettings(
      systemPrompt: prompt.utf8.elementsEqual((manifest?.chat?.defaultSystem ?? "").utf8) ? nil : prompt,
      temperature: (temperature * 10).rounded() / 10,
      maxNewTokens: validTokens ?? settings[bundleName].maxNewTokens)
  }

  public func reset() {
    settings.forget(bundleName)
    fill()
  }

  private var validTokens: Int? {
    let most = manifest?.context ?? Int(Int32.max)
    return Int(maxTokens.trimmed(\.isPythonSpace)).flatMap { (1...most).contains($0) ? $0 : nil }
  }

  private func fill() {
    let stored = settings[bundleName]
    systemPrompt = stored.systemPrompt ?? manifest?.chat?.defaultSystem ?? ""
    temperature = stored.temperature
    maxTokens = String(min(stored.maxNewTokens, manifest?.context ?? stored.maxNewTokens))
  }
}
