import Foundation

/// The file of a conversation: JSON objects, a line each, appended and synced. A process that is killed leaves at most a
/// part of a last line, which is ignored, and cut off by the next `append`.
struct ConversationLog {
  private static let newline = UInt8(ascii: "\n")

  var file: URL
  var write: (FileHandle, Data) throws -> Void = { try $0.write(contentsOf: $1) }

  /// nil where there is no conversation in the file, or no file.
  func read() -> Conversation? {
    guard let data = try? Data(contentsOf: file), let last = data.lastIndex(of: Self.newline) else { return nil }
    var conversation: Conversation?
    for line in data[...last].split(separator: Self.newline) {
      // A line that is damaged costs no other.
      guard let change = ConversationChange(line: line) else { continue }
      conversation = change.applied(to: conversation)
    }
    return conversation
  }

  /// Writes all of `changes` or, where it throws `StorageError` as for a full disk, none.
  func append(_ changes: [ConversationChange]) throws {
    let isNew = !FileManager.default.fileExists(atPath: file.path)
    do {
      if isNew { try Data().write(to: file, options: .withoutOverwriting) }
      let output = try FileHandle(forUpdating: file)
      defer { try? output.close() }
      try append(changes, to: output)
    } catch {
      if isNew { try? FileManager.default.removeItem(at: file) }
      throw StorageError(error)
    }
    // The name is durable once the folder is, too. Some file systems cannot open folders; the file itself is synced.
    if isNew, let folder = try? FileHandle(forReadingFrom: file.deletingLastPathComponent()) {
      try? folder.synchronize()
      try? folder.close()
    }
  }

  private func append(_ changes: [ConversationChange], to output: FileHandle) throws {
    let lines = Data(changes.map { $0.line + "\n" }.joined().utf8)
    let end = try endOfLastLine(output)
    try output.truncate(atOffset: end)
    try output.seek(toOffset: end)
    do {
      try write(output, lines)
      try output.synchronize()
    } catch {
      try? output.truncate(atOffset: end)  // a first line that was written whole would count
      throw error
    }
  }

  private func endOfLastLine(_ input: FileHandle) throws -> UInt64 {
    var end = try input.seekToEnd()
    while end > 0 {
      let start = end - min(end, 4096)
      try input.seek(toOffset: start)
      let block = try input.read(upToCount: Int(end - start)) ?? Data()
      if let newline = block.lastIndex(of: Self.newline) {
        return start + UInt64(newline - block.startIndex) + 1
      }
      end = start
    }
    return 0
  }
}
