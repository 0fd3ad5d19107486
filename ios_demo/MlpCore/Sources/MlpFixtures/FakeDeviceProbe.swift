import Foundation
import MlpCore

/// A device of 8 GB that runs both backends; a test changes what it cares about before it hands this out.
public struct FakeDeviceProbe: DeviceProbe {
  public var found = Device(
    systemVersion: "18.5", isSimulator: false, totalMemoryBytes: 8 << 30, availableMemoryBytes: 3 << 30,
    runtimes: ["executorch": "1.5.1"], backends: ["xnnpack", "coreml"])
  public var resident: Int64 = 100 << 20
  public var free: Int64? = 10 << 30
  public var thermalWord = "none"
  public var threadCount: Int? = 4

  public init() {}

  public func device() -> Device { found }
  public func residentBytes() -> Int64 { resident }
  public func freeBytes(at folder: URL) -> Int64? { free }
  public func thermal() -> String { thermalWord }
  public func threads() -> Int? { threadCount }
}
