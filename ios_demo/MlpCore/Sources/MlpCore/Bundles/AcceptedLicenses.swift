import Foundation

/// Which licenses were accepted on this device. One is known by its text's hash: another text is asked for again.
/// Any thread.
public final class AcceptedLicenses: @unchecked Sendable {
  // Screens of plain text; more is no license.
  private static let maxBytes = 1 << 20

  private let file: URL
  private let lock = NSLock()
  private var accepted: Set<String>

  public init(file: URL) {
    self.file = file
    accepted = (try? JSONDecoder().decode(Set<String>.self, from: Data(contentsOf: file))) ?? []
  }

  public func isAccepted(_ bundle: ModelBundle) -> Bool { lock.withLock { accepted.contains(key(bundle)) } }

  /// Where it cannot be stored, as on a full device, it is asked for again at the next start.
  public func accept(_ bundle: ModelBundle) {
    lock.withLock {
      accepted.insert(key(bundle))
      try? JSONEncoder().encode(accepted.sorted()).write(to: file, options: .atomic)
    }
  }

  /// The license's text, nil if the file is gone.
  public static func text(_ bundle: ModelBundle) -> String? {
    guard let handle = try? FileHandle(forReadingFrom: bundle.license) else { return nil }
    defer { try? handle.close() }
    guard let bytes = try? handle.read(upToCount: maxBytes) else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// FAIR NC, CC BY-NC, "noncommercial research", ...
  public static func isNoncommercial(_ license: String?) -> Bool {
    guard let license else { return false }
    return license.range(of: #"(?i)\bnc\b|non-?commercial"#, options: .regularExpression) != nil
  }

  private func key(_ bundle: ModelBundle) -> String {
    "\(bundle.manifest.model.id) \(bundle.manifest.files["LICENSE"]?.sha256 ?? "")"
  }
}
