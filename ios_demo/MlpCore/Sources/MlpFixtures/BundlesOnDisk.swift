import Foundation
import MlpCore

/// A new folder that is deleted with this object.
public final class TemporaryFolder: Sendable {
  public let url: URL

  public init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("mlp-\(UUID().uuidString)", isDirectory: true)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }
}

/// Writes the bundle `name` into the folder `parent`: `contents` as its files, and `manifest` with their sizes and
/// hashes. Returns it as `ModelBundle.open` finds it.
@discardableResult
public func writeBundle(
  _ manifest: Manifest = manifest(), in parent: URL, name: String = "smol",
  contents: [String: String] = ["model.pte": "a program", "tokenizer.json": "{}", "LICENSE": "Apache-2.0"]
) throws -> ModelBundle {
  let folder = parent.appendingPathComponent(name, isDirectory: true)
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  var manifest = manifest
  manifest.files = [:]
  for (name, text) in contents {
    let data = Data(text.utf8)
    try data.write(to: folder.appendingPathComponent(name))
    manifest.files[name] = Manifest.FileEntry(bytes: Int64(data.count), sha256: sha256(of: data))
  }
  try Data(manifestText(manifest).utf8).write(to: folder.appendingPathComponent("manifest.json"))
  return try ModelBundle.open(folder)
}
