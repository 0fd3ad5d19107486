import Foundation

/// All that a manifest says, for those who want to know.
public struct BundleDetails: Equatable, Sendable {
  public struct Row: Equatable, Sendable, Identifiable {
    public var name: String
    public var value: String

    public var id: String { name }
  }

  public var title: String
  public var rows: [Row]
  public var checks: [Row]  // of the export's verification
  public var noChecks: String?  // in their place

  public init(_ bundle: ModelBundle) {
    let manifest = bundle.manifest
    let model = manifest.model
    let backend = manifest.backend
    title = modelName(manifest)
    let values: [(String, String)] = [
      ("bundle.model", [model.id, model.revision].compactMap { $0 }.joined(separator: " @ ")),
      ("bundle.license", model.license ?? text("bundle.licenseNone")),
      ("bundle.parameters", Self.parameters(model.parameters)),
      ("bundle.weights", manifest.quantizationScheme),
      ("bundle.backend", [backend.name, backend.target].compactMap { $0 }.joined(separator: ", ")),
      ("bundle.runtime", Self.versions(backend.minRuntime)),
      ("bundle.context", text("bundle.tokens", formatted(manifest.context))),
      ("bundle.memory", formattedSize(manifest.deviceRamBytes)),
      ("bundle.cache", formattedSize(manifest.kvCacheBytes + manifest.kvScaleBytes)),
      ("bundle.size", formattedSize(manifest.files.values.reduce(0) { $0 + $1.bytes })),
      ("bundle.exporter", manifest.exporter.map { "\($0.name) \($0.version)" } ?? ""),
      ("bundle.chatTemplate", Self.chatTemplate(manifest)),
      ("bundle.folder", bundle.name),
    ]
    rows = values.filter { !$0.1.isEmpty }.map { Row(name: text($0.0), value: $0.1) }
    checks = (manifest.verification?.checks ?? []).map { check in
      Row(name: check.name, value: text(check.passed ? "bundle.checkPassed" : "bundle.checkFailed", check.detail))
    }
    noChecks = manifest.verification == nil ? text("bundle.notVerified") : nil
  }

  /// How much of the checkpoint's chat template the bundle carries, and what it does not: the export's sentences.
  static func chatTemplate(_ manifest: Manifest) -> String {
    let limits = manifest.chatLimits
    let carried =
      if manifest.chat == nil {
        limits.isEmpty ? "bundle.chatNoTemplate" : "bundle.chatNone"
      } else {
        limits.isEmpty ? "bundle.chatWhole" : "bundle.chatInPart"
      }
    return ([text(carried)] + limits).joined(separator: "\n")
  }

  private static func versions(_ versions: [String: String]) -> String {
    versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
  }

  private static func parameters(_ count: Int64) -> String {
    // What would round to 1000 M is a billion.
    count < 999_500_000
      ? text("bundle.millions", formatted(Double(count) / 1e6, digits: 0))
      : text("bundle.billions", formatted(Double(count) / 1e9, digits: 2))
  }
}
