import Foundation

/// What the device tells of itself. The app has the real one; tests have their own. Any thread may call it.
public protocol DeviceProbe: Sendable {
  func device() -> Device
  /// Resident bytes of the process.
  func residentBytes() -> Int64
  /// Bytes that may be written to `folder`; nil where that cannot be told.
  func freeBytes(at folder: URL) -> Int64?
  /// One of the benchmark schema's words, "unknown" where the device does not say.
  func thermal() -> String
  /// Threads of the process; nil where that cannot be told.
  func threads() -> Int?
}
