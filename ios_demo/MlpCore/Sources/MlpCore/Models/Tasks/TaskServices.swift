import Foundation

/// What tasks and documents take from the app.
@MainActor
public final class TaskServices {
  let host: ModelHost
  let bundles: BundleServices
  let speeds: PrefillSpeeds
  let maxNewTokens: (String) -> Int
  let tokenizers: @Sendable (ModelBundle) -> Tokenizer

  /// `maxNewTokens` is what was set for the bundle of that name.
  public init(
    host: ModelHost, bundles: BundleServices, speeds: PrefillSpeeds, maxNewTokens: @escaping (String) -> Int,
    tokenizers: @escaping @Sendable (ModelBundle) -> Tokenizer
  ) {
    self.host = host
    self.bundles = bundles
    self.speeds = speeds
    self.maxNewTokens = maxNewTokens
    self.tokenizers = tokenizers
  }

  /// Tasks bring their own instruction, so that the bundle's system prompt stays out of it.
  func settings(_ bundle: ModelBundle) -> GenerationSettings {
    GenerationSettings(maxNewTokens: maxNewTokens(bundle.name))
  }

  func status() -> WorkStatus { WorkStatus(speeds: speeds, loading: bundles.loadingText) }
}
