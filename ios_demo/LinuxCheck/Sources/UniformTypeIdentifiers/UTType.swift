// Stand-in of the types of files that the app opens.
@_exported import Foundation

public struct UTType: Hashable, Sendable {
  public let identifier: String
  public init?(_ identifier: String) { self.identifier = identifier }
  public init?(filenameExtension: String) { identifier = "public.\(filenameExtension)" }
  init(named identifier: String) { self.identifier = identifier }
  public func conforms(to type: UTType) -> Bool { self == type }
  public static let folder = UTType(named: "public.folder")
  public static let directory = UTType(named: "public.directory")
  public static let item = UTType(named: "public.item")
  public static let data = UTType(named: "public.data")
  public static let content = UTType(named: "public.content")
  public static let text = UTType(named: "public.text")
  public static let plainText = UTType(named: "public.plain-text")
  public static let utf8PlainText = UTType(named: "public.utf8-plain-text")
  public static let json = UTType(named: "public.json")
  public static let url = UTType(named: "public.url")
  public static let fileURL = UTType(named: "public.file-url")
}
