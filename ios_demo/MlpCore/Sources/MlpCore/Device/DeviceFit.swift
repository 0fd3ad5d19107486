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

/// Whether a bundle with `manifest` runs on `device`, and why not: as mlp_export/devices/device_fit.py has it.
public func deviceFit(_ manifest: Manifest, _ device: Device) -> DeviceFit {
  let backend = manifest.backend
  if backend.name == "qnn" || backend.minRuntime["qairt"] != nil {
    return DeviceFit(reasons: [.init(kind: .otherSystem, found: "iOS", expected: "Android")], warnings: [])
  }
  let reasons =
    [missingBackend(backend, device), oldSystem(backend, device)].compactMap { $0 } + oldRuntimes(backend, device)
    + [tooLittleMemory(manifest, device)].compactMap { $0 }
  let warnings = [simulator(backend, device), littleFreeMemory(manifest, device), notVerified(manifest)]
  return DeviceFit(reasons: reasons, warnings: warnings.compactMap { $0 })
}

private func missingBackend(_ backend: Manifest.BackendInfo, _ device: Device) -> DeviceFit.Reason? {
  if device.backends.contains(backend.name) { return nil }
  let found = device.backends.sorted().joined(separator: ", ")
  return .init(kind: .missingBackend, found: found, expected: backend.name)
}

private func oldSystem(_ backend: Manifest.BackendInfo, _ device: Device) -> DeviceFit.Reason? {
  guard let oldest = backend.minRuntime["ios"], isOlder(device.systemVersion, than: oldest) else { return nil }
  return .init(kind: .oldSystem, found: "iOS \(device.systemVersion)", expected: "iOS \(oldest)")
}

/// A runtime whose version is not known is not held against the app: one that it lacks is a missing backend.
private func oldRuntimes(_ backend: Manifest.BackendInfo, _ device: Device) -> [DeviceFit.Reason] {
  backend.minRuntime.sorted { $0.key < $1.key }.compactMap { name, oldest in
    guard name != "ios", let found = device.runtimes[name], isOlder(found, than: oldest) else { return nil }
    return .init(kind: .oldRuntime, found: "\(name) \(found)", expected: "\(name) \(oldest)")
  }
}

/// The Simulator has neither the Neural Engine nor a device's GPU.
private func simulator(_ backend: Manifest.BackendInfo, _ device: Device) -> DeviceFit.Reason? {
  guard device.isSimulator, backend.name == "coreml", let target = backend.target, target != "cpu_only" else {
    return nil
  }
  return .init(kind: .simulator, found: target, expected: "cpu_only")
}

private func tooLittleMemory(_ manifest: Manifest, _ device: Device) -> DeviceFit.Reason? {
  if manifest.deviceRamBytes <= memoryForApps(device) { return nil }
  return .init(
    kind: .tooLittleMemory, found: String(device.totalMemoryBytes), expected: String(manifest.deviceRamBytes))
}

private func littleFreeMemory(_ manifest: Manifest, _ device: Device) -> DeviceFit.Reason? {
  let (needed, available) = (manifest.deviceRamBytes, device.availableMemoryBytes)
  // 0: os_proc_available_memory() has no answer in the Simulator.
  if needed > memoryForApps(device) || needed <= available || available == 0 { return nil }
  return .init(kind: .littleFreeMemory, found: String(available), expected: String(needed))
}

/// The system and its services keep a quarter.
private func memoryForApps(_ device: Device) -> Int64 { device.totalMemoryBytes / 4 * 3 }

private func notVerified(_ manifest: Manifest) -> DeviceFit.Reason? {
  if manifest.verification?.passed == true { return nil }
  return .init(kind: .notVerified, found: manifest.verification == nil ? "none" : "failed", expected: "passed")
}
