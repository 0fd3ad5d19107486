import Foundation

/// A JSON file of values by name, read once. Where it cannot be written, as on a full device, the next start has the
/// values before.
@MainActor
final class StoredValues<Value: Codable> {
  private let file: URL
  private var values: [String: Value]

  init(file: URL) {
    self.file = file
    values = (try? JSONDecoder().decode([String: Value].self, from: Data(contentsOf: file))) ?? [:]
  }

  subscript(name: String) -> Value? {
    get { values[name] }
    set {
      values[name] = newValue
      try? FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try? JSONEncoder().encode(values).write(to: file, options: .atomic)
    }
  }
}
