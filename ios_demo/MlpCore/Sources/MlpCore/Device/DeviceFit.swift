/// What decides whether a bundle runs on an iPhone or iPad.
public struct Device: Equatable, Sendable {
  public var systemVersion: String  // of iOS, "18.5"
  public var isSimulator: Bool
  public var totalMemoryBytes: Int64
  public var availableMemoryBytes: Int64  // that the system lets the app still take: os_proc_available_memory()
  public var runtimes: [String: String]  // that the app carries -> version: "executorch" -> "1.5.1"
  public var backends: Set<String>  // delegates that are linked: "xnnpack", "coreml"

  public init(
    systemVersion: String, isSimulator: Bool, totalMemoryBytes: Int64, availableMemoryBytes: Int64,
    runtimes: [String: String], backends: Set<String>
  ) {
    self.systemVersion = systemVersion
    self.isSimulator = isSimulator
    self.totalMemoryBytes = totalMemoryBytes
    self.availableMemoryBytes = availableMemoryBytes
    self.runtimes = runtimes
    self.backends = backends
  }
}

/// Whether it runs, and every reason why not. The app has a sentence for each reason.
public struct DeviceFit: Equatable, Sendable {
  public var reasons: [Reason]
  public var warnings: [Reason]
  public var runs: Bool { reasons.isEmpty }

  public init(reasons: [Reason], warnings: [Reason]) {
    self.reasons = reasons
    self.warnings = warnings
  }

  /// `found` and `expected` fill the sentence; `kind` has one spelling in tests/vectors/device_fit_ios.json.
  public struct Reason: Equatable, Sendable {
    public var kind: Kind
    public var found: String
    public var expected: String

    public init(kind: Kind, found: String, expected: String) {
      self.kind = kind
      self.found = found
      self.expected = expected
    }
  }

  public enum Kind: String, Sendable, CaseIterable {
    case otherSystem = "OTHER_SYSTEM"  // a bundle for Android: QNN
    case oldSystem = "OLD_SYSTEM"  // iOS is older than the Core ML program needs
    case oldRuntime = "OLD_RUNTIME"
    case missingBackend = "MISSING_BACKEND"
    case tooLittleMemory = "TOO_LITTLE_MEMORY"  // the device never has enough
    case littleFreeMemory = "LITTLE_FREE_MEMORY"  // a warning: not now
    case simulator = "SIMULATOR"  // a warning: a Core ML program for the Neural Engine, where there is none
    case notVerified = "NOT_VERIFIED"  // a warning: the export did not verify it, or it did not pass
  }
}

/// Whether a bundle with `manifest` runs on `device`, and all reasons why not: as mlp_export/device_fit.py has it.
public func deviceFit(_ manifest: Manifest, _ device: Device) -> DeviceFit { fatalError("skeleton") }
