import Foundation

/// The disk could not be written or read. `isFull`: for want of space.
public struct StorageError: Error, Equatable {
  public var isFull: Bool
  public var detail: String

  public init(isFull: Bool, detail: String) {
    self.isFull = isFull
    self.detail = detail
  }

  /// What Foundation threw. A full disk and a used-up quota are the same to people: free some storage.
  public init(_ error: any Error) {
    if let error = error as? StorageError {
      self = error
      return
    }
    let error = error as NSError
    self.init(isFull: tellsFullDisk(error), detail: error.localizedDescription)
  }
}

private func tellsFullDisk(_ error: NSError) -> Bool {
  switch error.domain {
  case NSCocoaErrorDomain: if error.code == CocoaError.fileWriteOutOfSpace.rawValue { return true }
  case NSPOSIXErrorDomain:
    if let code = POSIXErrorCode(rawValue: Int32(error.code)), code == .ENOSPC || code == .EDQUOT { return true }
  default: break
  }
  guard let cause = error.userInfo[NSUnderlyingErrorKey] as? NSError else { return false }
  return tellsFullDisk(cause)
}
