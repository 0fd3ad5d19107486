import MlpCore
import UIKit

#if canImport(Darwin)
  import Darwin
  import os
#endif

/// This iPhone or iPad, and what is linked into the app.
struct LiveDevice: DeviceProbe {
  /// Of the package's branch in MlpDemo.xcodeproj: the runtime does not tell its version.
  static let executorchVersion = "1.5.1"

  func device() -> Device {
    let version = ProcessInfo.processInfo.operatingSystemVersion
    let patch = version.patchVersion == 0 ? "" : ".\(version.patchVersion)"
    return Device(
      systemVersion: "\(version.majorVersion).\(version.minorVersion)\(patch)", isSimulator: Self.isSimulator,
      totalMemoryBytes: Int64(ProcessInfo.processInfo.physicalMemory),
      availableMemoryBytes: Int64(os_proc_available_memory()), runtimes: ["executorch": Self.executorchVersion],
      backends: ["xnnpack", "coreml"])
  }

  static var isSimulator: Bool {
    #if targetEnvironment(simulator)
      true
    #else
      false
    #endif
  }

  func residentBytes() -> Int64 {
    var info = mach_task_basic_info()
    var count = mach_msg_type_number_t(
      MemoryLayout<mach_task_basic_info>.size / MemoryLayout<natural_t>.size)
    let result = withUnsafeMutablePointer(to: &info) { pointer in
      pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
        task_info(mach_task_self_, task_flavor_t(MACH_TASK_BASIC_INFO), $0, &count)
      }
    }
    return result == KERN_SUCCESS ? Int64(info.resident_size) : 0
  }

  /// What the system would free for something that a person asked for counts as free.
  func freeBytes(at folder: URL) -> Int64? {
    let key = URLResourceKey.volumeAvailableCapacityForImportantUsageKey
    return (try? folder.resourceValues(forKeys: [key]))?.volumeAvailableCapacityForImportantUsage
  }

  func thermal() -> String {
    switch ProcessInfo.processInfo.thermalState {
    case .nominal: "none"
    case .fair: "light"
    case .serious: "severe"
    case .critical: "critical"
    @unknown default: "unknown"
    }
  }

  func threads() -> Int? {
    var list: thread_act_array_t?
    var count: mach_msg_type_number_t = 0
    guard task_threads(mach_task_self_, &list, &count) == KERN_SUCCESS, let list else { return nil }
    for index in 0..<Int(count) { mach_port_deallocate(mach_task_self_, list[index]) }
    let bytes = vm_size_t(Int(count) * MemoryLayout<thread_act_t>.size)
    vm_deallocate(mach_task_self_, vm_address_t(UInt(bitPattern: list)), bytes)
    return Int(count)
  }
}
