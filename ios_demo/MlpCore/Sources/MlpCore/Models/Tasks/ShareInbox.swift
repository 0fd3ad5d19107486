import Foundation

/// Text that the share extension leaves for the app in a folder of their app group, a file each. An item stays until
/// `remove`, also when either process is killed: it is renamed into place when it is whole. Any thread.
public struct ShareInbox: Sendable {
  public struct Item: Equatable, Sendable, Identifiable {
    public var id: String
    public var name: String?  // of the file that was shared; nil for plain text
    public var time: Date
    public var isSeen: Bool
  }

  /// Was not taken, for that many wait already.
  public struct Full: Error, Equatable {
    public var items: Int
  }

  public static let mostItems = 20

  private static let new = "shared"
  private static let seen = "seen"
  private static let longestName = 200
  private static let longestHeader = 4096

  private let folder: URL

  public init(folder: URL) { self.folder = folder }

  /// Keeps `text`. Throws `Full`, or what the disk says.
  public func add(_ text: String, name: String?, time: Date = Date()) throws {
    let waiting = items().count
    if waiting >= Self.mostItems { throw Full(items: waiting) }
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let shortName = name.map { String(String.UnicodeScalarView($0.unicodeScalars.prefix(Self.longestName))) }
    var data = try JSONEncoder().encode(Header(name: shortName, time: time.timeIntervalSince1970))
    data.append(10)
    data.append(contentsOf: text.utf8)
    try data.write(to: url(UUID().uuidString, Self.new), options: .atomic)
  }

  /// What waits, the newest first.
  public func items() -> [Item] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return names.compactMap(item).sorted { ($0.time, $0.id) > ($1.time, $1.id) }
  }

  /// The text of `item`; nil where it is gone.
  public func text(_ item: Item) -> String? {
    guard let data = try? Data(contentsOf: url(item)), let end = data.firstIndex(of: 10) else { return nil }
    return String(decoding: data[(end + 1)...], as: UTF8.self)
  }

  /// `item` was shown once.
  public func markSeen(_ item: Item) {
    if item.isSeen { return }
    try? FileManager.default.moveItem(at: url(item.id, Self.new), to: url(item.id, Self.seen))
  }

  public func remove(_ item: Item) {
    for kind in [Self.new, Self.seen] { try? FileManager.default.removeItem(at: url(item.id, kind)) }
  }

  private struct Header: Codable {
    var name: String?
    var time: Double
  }

  private func item(_ file: String) -> Item? {
    let url = folder.appendingPathComponent(file)
    let kind = url.pathExtension
    guard kind == Self.new || kind == Self.seen, let handle = try? FileHandle(forReadingFrom: url) else { return nil }
    defer { try? handle.close() }
    guard let start = try? handle.read(upToCount: Self.longestHeader), let end = start.firstIndex(of: 10),
      let header = try? JSONDecoder().decode(Header.self, from: start[..<end])
    else { return nil }
    return Item(
      id: url.deletingPathExtension().lastPathComponent, name: header.name,
      time: Date(timeIntervalSince1970: header.time), isSeen: kind == Self.seen)
  }

  /// Another process may have renamed it since it was listed.
  private func url(_ item: Item) -> URL {
    let seen = url(item.id, Self.seen)
    return FileManager.default.fileExists(atPath: seen.path) ? seen : url(item.id, Self.new)
  }

  private func url(_ id: String, _ kind: String) -> URL {
    folder.appendingPathComponent(id).appendingPathExtension(kind)
  }
}
