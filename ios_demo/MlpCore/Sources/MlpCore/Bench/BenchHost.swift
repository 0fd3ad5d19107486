import Foundation

/// The app and the device, as a result names them.
public struct BenchHost: Equatable, Sendable {
  public var appId: String
  public var appVersion: String
  public var runtimes: [String: String]
  public var model: String  // hw.machine, "iPhone17,1"
  public var abi: String
  public var ios: String
  public var isSimulator: Bool
  public var cores: Int
  public var totalMemoryBytes: Int64
}

extension BenchHost {
  /// This process on this device, of which `device` knows the rest.
  public init(
    _ device: Device, app: Bundle = .main, environment: [String: String] = ProcessInfo.processInfo.environment
  ) {
    self.init(
      appId: app.bundleIdentifier ?? "org.mlpexport.demo",
      appVersion: app.object(forInfoDictionaryKey: "CFBundleShortVersionString") as? String ?? "",
      runtimes: device.runtimes, model: environment["SIMULATOR_MODEL_IDENTIFIER"] ?? machine(), abi: architecture,
      ios: device.systemVersion, isSimulator: device.isSimulator, cores: ProcessInfo.processInfo.processorCount,
      totalMemoryBytes: device.totalMemoryBytes)
  }
}

/// What uname(3) calls the hardware: on a device "iPhone17,1", in the Simulator the Mac's processor.
private func machine() -> String {
  var name = utsname()
  guard uname(&name) == 0 else { return "" }
  return withUnsafeBytes(of: &name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

#if arch(arm64)
  private let architecture = "arm64"
#else
  private let architecture = "x86_64"
#endif
