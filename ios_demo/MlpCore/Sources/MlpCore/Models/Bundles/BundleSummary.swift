/// What a row of the list says of one bundle.
public struct BundleSummary: Equatable, Sendable {
  /// `symbol`: name of an SF Symbol; nil goes on with the line before.
  public struct Line: Equatable, Sendable {
    public var symbol: String?
    public var text: String
    public var isHeadline: Bool
  }

  public var title: String
  public var subtitle: String
  public var chips: [String]
  public var lines: [Line]
  public var canOpen: Bool

  /// `compiles`: Core ML has to compile it at the next load.
  public init(_ item: BundleLibrary.Item, compiles: Bool) {
    title = Self.title(item.entry)
    canOpen = item.canOpen
    guard case .usable(let bundle, let hashes) = item.entry else {
      subtitle = ""
      chips = []
      let symbol = if case .incomplete = item.entry { "hourglass" } else { "exclamationmark.circle" }
      lines = Self.refusal(symbol, "bundles.broken", item)
      return
    }
    let manifest = bundle.manifest
    subtitle = Self.subtitle(manifest)
    chips = Self.chips(manifest)
    if item.canOpen {
      lines = [Line(symbol: "checkmark.circle", text: text("bundles.runs"), isHeadline: false)]
    } else if case .wrong = hashes {
      lines = Self.refusal("exclamationmark.circle", "bundles.broken", item)
    } else {
      lines = Self.refusal("exclamationmark.circle", "bundles.runsNot", item)
    }
    lines += (item.fit?.warnings ?? []).map {
      Line(symbol: "exclamationmark.triangle", text: sentence($0), isHeadline: false)
    }
    if manifest.chat == nil {
      let template = BundleDetails.chatTemplate(manifest)
      lines.append(Line(symbol: "exclamationmark.triangle", text: template, isHeadline: false))
    }
    if item.canOpen, compiles {
      lines.append(Line(symbol: "hourglass", text: text("bundles.willCompile"), isHeadline: false))
    }
  }

  /// How far the check of the bundle's files is; nil where nothing is to be checked.
  public static func check(_ item: BundleLibrary.Item, _ progress: BundleLibrary.Progress?) -> String? {
    guard item.entry.hashes == .unchecked else { return nil }
    guard let progress, progress.name == item.entry.name else { return text("bundles.unchecked") }
    return text("bundles.checking", formatted(progress.percent))
  }

  /// The model's name without its owner; the folder's name where there is no manifest.
  public static func title(_ entry: BundleEntry) -> String {
    entry.bundle.map { modelName($0.manifest) } ?? entry.name
  }

  /// All of it, for VoiceOver.
  public var spoken: String {
    ([title, subtitle] + chips + lines.map(\.text)).filter { !$0.isEmpty }.joined(separator: ", ")
  }

  private static func refusal(_ symbol: String, _ headline: String, _ item: BundleLibrary.Item) -> [Line] {
    [Line(symbol: symbol, text: text(headline), isHeadline: true)]
      + sentences(item).map { Line(symbol: nil, text: $0, isHeadline: false) }
  }

  private static func subtitle(_ manifest: Manifest) -> String {
    let owner = manifest.model.id.split(separator: "/").dropLast().joined(separator: "/")
    let license = manifest.model.license ?? text("bundle.licenseNone")
    return [owner, license].filter { !$0.isEmpty }.joined(separator: " · ")
  }

  private static func chips(_ manifest: Manifest) -> [String] {
    let isVerified = manifest.verification?.passed == true
    return [
      backend(manifest.backend), formattedSize(manifest.files.values.reduce(0) { $0 + $1.bytes }),
      text("bundle.tokens", formatted(manifest.context)), manifest.quantizationScheme,
      text(isVerified ? "bundle.verified" : "bundle.notVerified"),
    ]
  }

  /// "CPU", "Neural Engine", ...; the manifest's word for one that is not known.
  static func backend(_ backend: Manifest.BackendInfo) -> String {
    switch (backend.name, backend.target) {
    case ("xnnpack", _): text("bundle.backendCPU")
    case ("coreml", "cpu_and_ne"): text("bundle.backendNeuralEngine")
    case ("coreml", "all"): text("bundle.backendAll")
    case ("coreml", "cpu_and_gpu"): text("bundle.backendGPU")
    case ("coreml", "cpu_only"): text("bundle.backendCoreMLCPU")
    default: backend.name
    }
  }
}
