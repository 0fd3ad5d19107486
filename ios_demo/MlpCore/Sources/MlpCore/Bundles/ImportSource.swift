import Foundation

/// A file that is to be imported; `bytes` is nil where its provider does not say.
public struct ImportFile: Equatable, Sendable {
  public var name: String
  public var bytes: Int64?
  public var url: URL

  public init(name: String, bytes: Int64?, url: URL) {
    self.name = name
    self.bytes = bytes
    self.url = url
  }
}

/// What is to be imported: the files of one folder, or files that were picked. `name` is the folder's, or nil.
public struct ImportSource: Equatable, Sendable {
  public var name: String?
  public var files: [ImportFile]

  public init(name: String?, files: [ImportFile]) {
    self.name = name
    self.files = files
  }

  /// What the system's picker gave: the folder of a bundle, a folder with one bundle in it, or files of one bundle.
  public static func picked(_ urls: [URL], access: some FileAccess) throws -> ImportSource {
    if urls.count == 1, isFolder(urls[0]) { return try folder(urls[0], access: access) }
    return ImportSource(name: nil, files: urls.filter { !isFolder($0) }.map { file($0.lastPathComponent, $0) })
  }

  private static func folder(_ url: URL, access: some FileAccess) throws -> ImportSource {
    let children = try children(url, access: access)
    if hasManifest(children) { return source(url, children) }
    let inner = children.filter { isFolder($0.url) }
      .compactMap { child in (try? Self.children(child.url, access: access)).map { (child.url, $0) } }
      .filter { hasManifest($0.1) }
    return inner.count == 1 ? source(inner[0].0, inner[0].1) : source(url, children)
  }

  private static func source(_ url: URL, _ children: [ImportFile]) -> ImportSource {
    ImportSource(name: url.lastPathComponent, files: children.filter { !isFolder($0.url) })
  }

  private static func children(_ url: URL, access: some FileAccess) throws -> [ImportFile] {
    let names = try access.read(url) { try FileManager.default.contentsOfDirectory(atPath: $0.path) }
    return names.sorted().map { name in
      let name = placeholder(name) ?? name
      return file(name, url.appendingPathComponent(name))
    }
  }

  /// "model.pte" of ".model.pte.icloud", which older iCloud folders hold in place of a file that is not downloaded.
  private static func placeholder(_ name: String) -> String? {
    let (head, tail) = (".", ".icloud")
    guard name.hasPrefix(head), name.hasSuffix(tail), name.utf8.count > head.utf8.count + tail.utf8.count else {
      return nil
    }
    return String(name.dropFirst(head.count).dropLast(tail.count))
  }

  private static func file(_ name: String, _ url: URL) -> ImportFile {
    // A symbolic link has the size of its target's name.
    ImportFile(name: name, bytes: fileType(url) == .typeRegular ? fileSize(url) : nil, url: url)
  }

  private static func hasManifest(_ files: [ImportFile]) -> Bool {
    files.contains { $0.name == BundleRepository.manifest }
  }

  private static func isFolder(_ url: URL) -> Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) && isFolder.boolValue
  }
}
