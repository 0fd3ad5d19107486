// Stand-in of what a share extension is given, and of placing one screen in another.
import Foundation

open class NSItemProvider: NSObject, @unchecked Sendable {
  open var registeredTypeIdentifiers: [String] { [] }
  open var suggestedName: String?

  open func loadItem(
    forTypeIdentifier typeIdentifier: String, options: [AnyHashable: Any]? = nil
  ) async throws -> any NSSecureCoding { NSString() }
}

open class NSExtensionItem: NSObject {
  open var attachments: [NSItemProvider]?
}

open class NSExtensionContext: NSObject {
  open var inputItems: [Any] { [] }

  open func completeRequest(returningItems items: [Any]?, completionHandler: ((Bool) -> Void)? = nil) {}
}

extension UIViewController {
  public var extensionContext: NSExtensionContext? { nil }
  public func addChild(_ childController: UIViewController) {}
  public func didMove(toParent parent: UIViewController?) {}
}

extension UIView {
  public struct AutoresizingMask: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    public static let flexibleWidth = AutoresizingMask(rawValue: 2)
    public static let flexibleHeight = AutoresizingMask(rawValue: 16)
  }

  public var frame: CGRect {
    get { .zero }
    set {}
  }

  public var bounds: CGRect { .zero }

  public var autoresizingMask: AutoresizingMask {
    get { [] }
    set {}
  }

  public func addSubview(_ view: UIView) {}
}
