import Foundation

/// The document that is open and what was said of it, for when the system has ended the app. Its text is kept as it
/// was read: the file may be gone, or with a provider that is offline. Belongs to one queue.
struct DocumentStore: Sendable {
  struct Kept: Codable, Equatable {
    var name: String
    var bundle: String
    var talk: DocumentTalk.Saved?
  }

  private let folder: URL

  init(folder: URL) { self.folder = folder }

  /// Another document was opened. Where it cannot be stored, as on a full device, it is opened once more by hand.
  func save(_ text: String, _ kept: Kept) {
    clear()
    try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    guard (try? Data(text.utf8).write(to: textFile, options: .atomic)) != nil else { return }
    save(kept)
  }

  /// More was said of it.
  func save(_ kept: Kept) {
    try? JSONEncoder().encode(kept).write(to: keptFile, options: .atomic)
  }

  func read() -> (text: String, kept: Kept)? {
    guard let kept = try? JSONDecoder().decode(Kept.self, from: Data(contentsOf: keptFile)),
      let text = try? Data(contentsOf: textFile)
    else { return nil }
    return (String(decoding: text, as: UTF8.self), kept)
  }

  func clear() {
    for file in [keptFile, textFile] { try? FileManager.default.removeItem(at: file) }
  }

  private var textFile: URL { folder.appendingPathComponent("document.txt") }
  private var keptFile: URL { folder.appendingPathComponent("document.json") }
}
