import Foundation

/// What an error of the system comes down to. The numbers are those of Apple's headers FoundationErrors.h, errno.h,
/// NSURLError.h and NSFileProviderError.h, of which other systems have but a part.
enum SystemProblem {
  case offline  // the file is with a provider that cannot be reached
  case notAllowed
  case gone
  case full
  case other

  init(_ error: NSError) {
    switch (error.domain, error.code) {
    case (NSCocoaErrorDomain, 4353), (NSCocoaErrorDomain, 4355): self = .offline  // ubiquitous file, ubiquity server
    case (NSURLErrorDomain, -1009), (NSURLErrorDomain, -1001), (NSURLErrorDomain, -1004), (NSURLErrorDomain, -1005):
      self = .offline
    // Not signed in counts, too.
    case ("NSFileProviderErrorDomain", -1000), ("NSFileProviderErrorDomain", -1004): self = .offline
    case (NSCocoaErrorDomain, 257), (NSCocoaErrorDomain, 513), (NSPOSIXErrorDomain, 1), (NSPOSIXErrorDomain, 13):
      self = .notAllowed
    case (NSCocoaErrorDomain, 4), (NSCocoaErrorDomain, 260), (NSPOSIXErrorDomain, 2),
      ("NSFileProviderErrorDomain", -1005):
      self = .gone
    case (NSCocoaErrorDomain, 640), (NSPOSIXErrorDomain, 28): self = .full
    default:
      if let cause = error.userInfo[NSUnderlyingErrorKey] as? NSError {
        self = SystemProblem(cause)
      } else {
        self = .other
      }
    }
  }
}
