import Foundation
import MlpCore
import UIKit
import UniformTypeIdentifiers

/// The text that another app shares: itself, or a file's content.
struct SharedItem {
  let data: Data
  let name: String?

  /// nil where there is no text among `items`. Throws what the other app or the disk says.
  static func load(_ items: [NSExtensionItem]) async throws -> SharedItem? {
    for provider in items.flatMap({ $0.attachments ?? [] }) {
      let types = provider.registeredTypeIdentifiers.filter { UTType($0)?.conforms(to: .text) == true }
      // Of a rich text and a plain one the plain one.
      let plain = types.first { UTType($0)?.conforms(to: .plainText) == true }
      guard let type = plain ?? types.first else { continue }
      return try read(try await provider.loadItem(forTypeIdentifier: type), name: provider.suggestedName)
    }
    return nil
  }

  /// What apps give for a text: itself, with attributes, a file of it, or its bytes.
  private static func read(_ item: any NSSecureCoding, name: String?) throws -> SharedItem? {
    switch item as Any {
    case let text as String: return SharedItem(data: Data(text.utf8), name: nil)
    case let text as NSAttributedString: return SharedItem(data: Data(text.string.utf8), name: nil)
    case let data as Data: return SharedItem(data: data, name: name)
    case let file as URL:
      let handle = try FileHandle(forReadingFrom: file)
      defer { try? handle.close() }
      // One byte more shows that it is too long; an extension has little memory.
      let data = try handle.read(upToCount: TextDocument.mostBytes + 1) ?? Data()
      return SharedItem(data: data, name: file.lastPathComponent)
    default: return nil
    }
  }
}
