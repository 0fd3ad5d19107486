import Foundation

/// Conversations in `folder`, a file each (append-only JSON lines, flushed to the disk). Every change is on the disk
/// when its function returns, so that a killed process loses no message; an answer that it was about stays as
/// interrupted. Any thread may call; all block on the disk, and throw `StorageError` where it is full or gone.
public final class ConversationStore: @unchecked Sendable {
  private static let suffix = "jsonl"

  private let folder: URL
  private let clock: @Sendable () -> Date
  private let lock = NSRecursiveLock()  // guards what follows; recursive for the changes of `atOnce`
  private var known: [String: Conversation] = [:]
  private var batch: [(id: String, change: ConversationChange)]?

  public init(folder: URL, clock: @escaping @Sendable () -> Date = { Date() }) {
    self.folder = folder
    self.clock = clock
  }

  /// All conversations, the last changed first.
  public func list() -> [Conversation] {
    lock.withLock {
      let files = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
      return files.filter { $0.pathExtension == Self.suffix }
        .compactMap { read($0.deletingPathExtension().lastPathComponent) }
        .sorted { ($0.changed, $0.id) > ($1.changed, $1.id) }
    }
  }

  /// Conversations whose title or messages have `text` in them, in whatever case, the last changed first.
  public func search(_ text: String) -> [Conversation] {
    let wanted = text.trimmed(\.isPythonSpace)
    if wanted.isEmpty { return list() }
    return list().filter { conversation in
      ([conversation.title] + conversation.messages.map(\.text)).contains {
        $0.range(of: wanted, options: .caseInsensitive) != nil
      }
    }
  }

  /// nil where there is none of that id.
  public func read(_ id: String) -> Conversation? {
    lock.withLock {
      guard Self.isId(id) else { return nil }
      if let conversation = known[id] { return conversation }
      let conversation = log(id).read()
      known[id] = conversation
      return conversation
    }
  }

  /// A new conversation with the bundle in the folder named `bundle`. Its title is to be its first message.
  public func create(bundle: String, systemPrompt: String? = nil) throws -> Conversation {
    try lock.withLock {
      do {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      } catch {
        throw StorageError(error)
      }
      let id = newId()
      return try write(id, [.start(id: id, title: "", bundle: bundle, systemPrompt: systemPrompt)])
    }
  }

  /// Runs `changes` of one conversation, and writes all of them at the end: one append, or none of them.
  public func atOnce<T>(_ changes: () throws -> T) throws -> T {
    try lock.withLock {
      guard batch == nil else { throw StorageError(isFull: false, detail: "atOnce within atOnce") }
      let before = known
      batch = []
      do {
        let result = try changes()
        let written = batch ?? []
        batch = nil
        guard Set(written.map(\.id)).count <= 1 else {
          throw StorageError(isFull: false, detail: "changes of several conversations in one atOnce")
        }
        if let id = written.first?.id { try log(id).append(written.map(\.change)) }
        return result
      } catch {
        batch = nil
        known = before
        throw error
      }
    }
  }

  /// Adds what the user wrote; in place of the message `replaces` and all after it, if given.
  @discardableResult
  public func addUser(_ id: String, _ text: String, replaces: String? = nil) throws -> ChatMessage {
    try lock.withLock {
      if try existing(id).title.isEmpty { try write(id, [.rename(title: Self.title(of: text))]) }
      return try add(id, .user, text, end: nil, replaces: replaces)
    }
  }

  /// Adds an answer that is about to be written: interrupted, until `endAnswer`; in place of the message `replaces`
  /// and all after it, if given.
  @discardableResult
  public func startAnswer(_ id: String, replaces: String? = nil) throws -> ChatMessage {
    try lock.withLock { try add(id, .assistant, "", end: .interrupted, replaces: replaces) }
  }

  /// Keeps what there is of an answer: all of its `text` so far.
  public func updateAnswer(_ id: String, message: String, text: String) throws {
    try lock.withLock {
      if let more = try growth(id, message, text) { try write(id, [more]) }
    }
  }

  /// The answer as it stands is whole.
  public func endAnswer(_ id: String, message: String, answer: Answer) throws {
    try lock.withLock {
      let more = try growth(id, message, answer.text)
      try write(id, [more, .end(message: message, answer.end, answer.statistics.asStored)].compactMap { $0 })
    }
  }

  /// The answer as it stands is all there will be.
  public func endAnswer(_ id: String, message: String, end: AnswerEnd) throws {
    try lock.withLock { _ = try write(id, [.end(message: message, end, nil)]) }
  }

  @discardableResult
  public func rename(_ id: String, title: String) throws -> Conversation {
    try lock.withLock { try write(id, [.rename(title: Self.title(of: title))]) }
  }

  public func delete(_ id: String) throws {
    try lock.withLock {
      guard Self.isId(id) else { return }
      known[id] = nil
      let file = log(id).file
      guard FileManager.default.fileExists(atPath: file.path) else { return }
      do { try FileManager.default.removeItem(at: file) } catch { throw StorageError(error) }
    }
  }

  /// `conversation` as text to share. `name` gives the heading of a role in the user's language.
  public static func export(_ conversation: Conversation, name: (Role) -> String) -> String {
    var parts = [conversation.title + "\n"]
    if let prompt = conversation.systemPrompt { parts.append("\(name(.system)):\n\(prompt)\n") }
    for message in conversation.messages {
      parts.append("\(name(message.role)):\n\(message.text.trimmed(\.isPythonSpace))\n")
    }
    return parts.joined(separator: "\n")
  }

  /// The first line of `text` that says something, cut at a word.
  static func title(of text: String) -> String {
    let most = 60
    let start = text.unicodeScalars.drop(while: \.isPythonSpace)
    let first = String(start.prefix { !CharacterSet.newlines.contains($0) })
    let line = first.trimmed(\.isPythonSpace)
    // Characters here: half an emoji would show as another one.
    if line.prefix(most + 1).count <= most { return line }
    let cut = line.prefix(most - 1)
    guard let space = cut.lastIndex(of: " "), line.distance(from: line.startIndex, to: space) >= most / 2 else {
      return cut + "…"
    }
    return cut[..<space] + "…"
  }

  private func add(
    _ id: String, _ role: Role, _ text: String, end: AnswerEnd?, replaces: String?
  ) throws -> ChatMessage {
    if let replaces, try !existing(id).messages.contains(where: { $0.id == replaces }) {
      throw StorageError(isFull: false, detail: "the conversation \(id) has no message \(replaces) any more")
    }
    let message = newId()
    let after = try write(id, [.add(message: message, role: role, text: text, end: end, replaces: replaces)])
    guard let added = after.messages.last else { throw Self.missing(id) }
    return added
  }

  /// The change that makes an answer `text`; nil where it is so already, or is gone.
  private func growth(_ id: String, _ message: String, _ text: String) throws -> ConversationChange.Kind? {
    guard let before = try existing(id).messages.first(where: { $0.id == message })?.text else { return nil }
    guard text.utf8.starts(with: before.utf8) else {
      throw StorageError(isFull: false, detail: "an answer only grows")
    }
    let more = text.utf8.dropFirst(before.utf8.count)
    return more.isEmpty ? nil : .more(message: message, text: String(decoding: more, as: UTF8.self))
  }

  @discardableResult
  private func write(_ id: String, _ kinds: [ConversationChange.Kind]) throws -> Conversation {
    let isNew = if case .start? = kinds.first { true } else { false }
    let before = isNew ? nil : try existing(id)
    let time = milliseconds()
    let changes = kinds.map { ConversationChange(time, $0) }
    guard let conversation = changes.reduce(before, { $1.applied(to: $0) }) else { throw Self.missing(id) }
    if batch == nil { try log(id).append(changes) } else { batch?.append(contentsOf: changes.map { (id, $0) }) }
    known[id] = conversation
    return conversation
  }

  private func existing(_ id: String) throws -> Conversation {
    guard let conversation = read(id) else { throw Self.missing(id) }
    return conversation
  }

  private static func missing(_ id: String) -> StorageError {
    StorageError(isFull: false, detail: "there is no conversation \(id)")
  }

  private func log(_ id: String) -> ConversationLog {
    ConversationLog(file: folder.appendingPathComponent(id).appendingPathExtension(Self.suffix))
  }

  /// Names of files: nothing that could lead elsewhere.
  private static func isId(_ id: String) -> Bool {
    (1...64).contains(id.utf8.count)
      && id.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == UInt8(ascii: "-") }
  }

  /// Ids sort by time.
  private func newId() -> String { String(format: "%013lld-%08x", milliseconds(), UInt32.random(in: 0...(.max))) }

  private func milliseconds() -> Int64 { Int64((clock().timeIntervalSince1970 * 1000).rounded()) }
}
