public struct EnvironmentValues {
  public var scenePhase: ScenePhase = .active
  public var dismiss = DismissAction()
  public var dismissSearch = DismissSearchAction()
  public var openURL = OpenURLAction()
  public var dynamicTypeSize: DynamicTypeSize = .large
  public var horizontalSizeClass: UserInterfaceSizeClass?
  public var verticalSizeClass: UserInterfaceSizeClass?
  public var colorScheme: ColorScheme = .light
  public var locale: Locale = .current
  public var layoutDirection: LayoutDirection = .leftToRight
  public var isSearching = false
  public var isEnabled = true
  public var isPresented = false
  public var lineLimit: Int?
  public var accessibilityReduceMotion: Bool { false }
  public var accessibilityReduceTransparency: Bool { false }
  public var accessibilityVoiceOverEnabled: Bool { false }
  public var accessibilityDifferentiateWithoutColor: Bool { false }
  public init() {}
}

public protocol EnvironmentKey {
  associatedtype Value
  static var defaultValue: Value { get }
}

@MainActor @preconcurrency public struct DismissAction {
  nonisolated init() {}
  public func callAsFunction() {}
}

@MainActor @preconcurrency public struct DismissSearchAction {
  nonisolated init() {}
  public func callAsFunction() {}
}

@MainActor @preconcurrency public struct OpenURLAction {
  nonisolated init() {}
  public func callAsFunction(_ url: URL) {}
}

public enum UserInterfaceSizeClass: Sendable { case compact, regular }
public enum ColorScheme: CaseIterable, Sendable { case light, dark }
public enum LayoutDirection: Hashable, CaseIterable, Sendable { case leftToRight, rightToLeft }

public enum DynamicTypeSize: Hashable, Comparable, CaseIterable, Sendable {
  case xSmall, small, medium, large, xLarge, xxLarge, xxxLarge
  case accessibility1, accessibility2, accessibility3, accessibility4, accessibility5
  public var isAccessibilitySize: Bool { self >= .accessibility1 }
}

/// What tests put in for `@Environment`. Of this stand-in, not of SwiftUI.
@MainActor public enum StandInEnvironment {
  public static var objects: [AnyObject] = []
  public static var values = EnvironmentValues()
}

@MainActor @preconcurrency @propertyWrapper public struct Environment<Value> {
  let read: @MainActor () -> Value
  public init(_ keyPath: KeyPath<EnvironmentValues, Value>) { read = { StandInEnvironment.values[keyPath: keyPath] } }
  public init(_ objectType: Value.Type) where Value: AnyObject & Observable {
    read = {
      guard let object = StandInEnvironment.objects.lazy.compactMap({ $0 as? Value }).first else {
        fatalError("no \(Value.self) in the environment")
      }
      return object
    }
  }
  public var wrappedValue: Value { read() }
}

extension View {
  public func environment<V>(_ keyPath: WritableKeyPath<EnvironmentValues, V>, _ value: V) -> some View {
    ModifiedContent(self)
  }
  public func environment<T: AnyObject & Observable>(_ object: T?) -> some View { ModifiedContent(self) }
  public func preferredColorScheme(_ colorScheme: ColorScheme?) -> some View { ModifiedContent(self) }
  public func dynamicTypeSize(_ size: DynamicTypeSize) -> some View { ModifiedContent(self) }
  public func dynamicTypeSize<T: RangeExpression>(_ range: T) -> some View where T.Bound == DynamicTypeSize {
    ModifiedContent(self)
  }
}
