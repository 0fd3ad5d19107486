// Stand-in of what ShareLink, PasteButton and Shortcuts hand over.
@_exported import Foundation
@_exported import UniformTypeIdentifiers

public protocol Transferable: Sendable {}
extension String: Transferable {}
extension URL: Transferable {}
extension Data: Transferable {}
extension AttributedString: Transferable {}
