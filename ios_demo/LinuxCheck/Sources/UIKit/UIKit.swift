// Stand-in of the little that the app takes from UIKit.
@_exported import Foundation

open class UIColor: NSObject, @unchecked Sendable {
  public static let systemBackground = UIColor()
  public static let secondarySystemBackground = UIColor()
  public static let tertiarySystemBackground = UIColor()
  public static let systemGroupedBackground = UIColor()
  public static let secondarySystemGroupedBackground = UIColor()
  public static let systemFill = UIColor()
  public static let secondarySystemFill = UIColor()
  public static let tertiarySystemFill = UIColor()
  public static let separator = UIColor()
  public static let label = UIColor()
}

open class UIPasteboard: NSObject {
  @MainActor public static let general = UIPasteboard()
  open var string: String?
  open var hasStrings: Bool { string != nil }
}

public struct UIBackgroundTaskIdentifier: Hashable, RawRepresentable, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  public static let invalid = UIBackgroundTaskIdentifier(rawValue: 0)
}

@MainActor open class UIResponder: NSObject {}

@MainActor open class UIApplication: UIResponder {
  public static let shared = UIApplication()
  open var isIdleTimerDisabled = false
  open var backgroundTimeRemaining: TimeInterval { .greatestFiniteMagnitude }
  open func beginBackgroundTask(
    withName taskName: String?, expirationHandler handler: (@MainActor @Sendable () -> Void)? = nil
  ) -> UIBackgroundTaskIdentifier { UIBackgroundTaskIdentifier(rawValue: 1) }
  open func endBackgroundTask(_ identifier: UIBackgroundTaskIdentifier) {}
  public nonisolated static let didReceiveMemoryWarningNotification = Notification.Name("memory warning")
  public nonisolated static let openSettingsURLString = "app-settings:"
}

@MainActor public protocol UIApplicationDelegate: NSObjectProtocol {}

@MainActor open class UIDevice: NSObject {
  public static let current = UIDevice()
  open var systemVersion: String { "18.0" }
  open var systemName: String { "iOS" }
  open var model: String { "iPhone" }
}

@MainActor open class UIView: UIResponder {}

@MainActor open class UIViewController: UIResponder {
  open var view: UIView! = UIView()
  public init(nibName: String? = nil, bundle: Bundle? = nil) {}
  public required init?(coder: NSCoder) {}
  open func viewDidLoad() {}
  open func viewDidAppear(_ animated: Bool) {}
}

public enum UIAccessibility {
  public struct Notification: Sendable {
    public static let announcement = UIAccessibility.Notification()
  }
  @MainActor public static func post(notification: UIAccessibility.Notification, argument: Any?) {}
}
