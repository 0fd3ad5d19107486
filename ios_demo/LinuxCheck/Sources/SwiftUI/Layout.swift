public struct HorizontalAlignment: Sendable {
  public static let leading = HorizontalAlignment()
  public static let center = HorizontalAlignment()
  public static let trailing = HorizontalAlignment()
}
public struct VerticalAlignment: Sendable {
  public static let top = VerticalAlignment()
  public static let center = VerticalAlignment()
  public static let bottom = VerticalAlignment()
  public static let firstTextBaseline = VerticalAlignment()
  public static let lastTextBaseline = VerticalAlignment()
}
public struct Alignment: Sendable {
  public static let topLeading = Alignment()
  public static let top = Alignment()
  public static let topTrailing = Alignment()
  public static let leading = Alignment()
  public static let center = Alignment()
  public static let trailing = Alignment()
  public static let bottomLeading = Alignment()
  public static let bottom = Alignment()
  public static let bottomTrailing = Alignment()
}
public enum Edge: Int8, CaseIterable, Sendable {
  case top, leading, bottom, trailing
  public struct Set: OptionSet, Sendable {
    public let rawValue: Int8
    public init(rawValue: Int8) { self.rawValue = rawValue }
    public static let top = Set(rawValue: 1)
    public static let leading = Set(rawValue: 2)
    public static let bottom = Set(rawValue: 4)
    public static let trailing = Set(rawValue: 8)
    public static let all = Set(rawValue: 15)
    public static let horizontal = Set(rawValue: 10)
    public static let vertical = Set(rawValue: 5)
  }
}
public enum VerticalEdge: Int8, CaseIterable, Sendable { case top, bottom }
public enum HorizontalEdge: Int8, CaseIterable, Sendable { case leading, trailing }
public enum Axis: Int8, CaseIterable, Sendable {
  case horizontal, vertical
  public struct Set: OptionSet, Sendable {
    public let rawValue: Int8
    public init(rawValue: Int8) { self.rawValue = rawValue }
    public static let horizontal = Set(rawValue: 1)
    public static let vertical = Set(rawValue: 2)
  }
}
public struct EdgeInsets: Equatable, Sendable {
  public var top: CGFloat
  public var leading: CGFloat
  public var bottom: CGFloat
  public var trailing: CGFloat
  public init(top: CGFloat = 0, leading: CGFloat = 0, bottom: CGFloat = 0, trailing: CGFloat = 0) {
    self.top = top
    self.leading = leading
    self.bottom = bottom
    self.trailing = trailing
  }
}
public struct UnitPoint: Hashable, Sendable {
  public static let top = UnitPoint()
  public static let center = UnitPoint()
  public static let bottom = UnitPoint()
}

public struct VStack<Content: View>: View, Element {
  public let parts: [any View]
  public init(alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content) {
    parts = [content()]
  }
}
public struct LazyVStack<Content: View>: View, Element {
  public let parts: [any View]
  public init(alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content) {
    parts = [content()]
  }
}
public struct HStack<Content: View>: View, Element {
  public let parts: [any View]
  public init(alignment: VerticalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content) {
    parts = [content()]
  }
}
public struct ZStack<Content: View>: View, Element {
  public let parts: [any View]
  public init(alignment: Alignment = .center, @ViewBuilder content: () -> Content) { parts = [content()] }
}
public struct ViewThatFits<Content: View>: View, Element {
  public let parts: [any View]
  public init(in axes: Axis.Set = [.horizontal, .vertical], @ViewBuilder content: () -> Content) { parts = [content()] }
}
public struct Grid<Content: View>: View, Element {
  public let parts: [any View]
  public init(
    alignment: Alignment = .center, horizontalSpacing: CGFloat? = nil, verticalSpacing: CGFloat? = nil,
    @ViewBuilder content: () -> Content
  ) { parts = [content()] }
}
public struct GridRow<Content: View>: View, Element {
  public let parts: [any View]
  public init(alignment: VerticalAlignment? = nil, @ViewBuilder content: () -> Content) { parts = [content()] }
}
public struct Spacer: View, Element {
  public init(minLength: CGFloat? = nil) {}
  public var parts: [any View] { [] }
}
public struct Divider: View, Element {
  public init() {}
  public var parts: [any View] { [] }
}
public struct Group<Content: View>: View, Element {
  public let parts: [any View]
  public init(@ViewBuilder content: () -> Content) { parts = [content()] }
}

public struct ScrollView<Content: View>: View, Element {
  public let parts: [any View]
  public init(_ axes: Axis.Set = .vertical, @ViewBuilder content: () -> Content) { parts = [content()] }
}
@MainActor @preconcurrency public struct ScrollViewProxy {
  public func scrollTo<ID: Hashable>(_ id: ID, anchor: UnitPoint? = nil) {}
}
public struct ScrollViewReader<Content: View>: View, Element {
  public let parts: [any View]
  public init(@ViewBuilder content: @escaping (ScrollViewProxy) -> Content) { parts = [content(ScrollViewProxy())] }
}
public struct ScrollDismissesKeyboardMode: Sendable {
  public static let automatic = ScrollDismissesKeyboardMode()
  public static let immediately = ScrollDismissesKeyboardMode()
  public static let interactively = ScrollDismissesKeyboardMode()
  public static let never = ScrollDismissesKeyboardMode()
}
public struct ScrollGeometry: Equatable, Sendable {
  public var contentOffset: CGPoint
  public var contentSize: CGSize
  public var contentInsets: EdgeInsets
  public var containerSize: CGSize
  public var visibleRect: CGRect
}
public enum ScrollPhase: Equatable, Sendable {
  case idle, tracking, interacting, decelerating, animating
  public var isScrolling: Bool { self != .idle }
}

extension View {
  public func padding(_ insets: EdgeInsets) -> some View { ModifiedContent(self) }
  public func padding(_ edges: Edge.Set = .all, _ length: CGFloat? = nil) -> some View { ModifiedContent(self) }
  public func padding(_ length: CGFloat) -> some View { ModifiedContent(self) }
  public func frame(width: CGFloat? = nil, height: CGFloat? = nil, alignment: Alignment = .center) -> some View {
    ModifiedContent(self)
  }
  public func frame(
    minWidth: CGFloat? = nil, idealWidth: CGFloat? = nil, maxWidth: CGFloat? = nil, minHeight: CGFloat? = nil,
    idealHeight: CGFloat? = nil, maxHeight: CGFloat? = nil, alignment: Alignment = .center
  ) -> some View { ModifiedContent(self) }
  public func containerRelativeFrame(_ axes: Axis.Set, alignment: Alignment = .center) -> some View {
    ModifiedContent(self)
  }
  public func fixedSize() -> some View { ModifiedContent(self) }
  public func fixedSize(horizontal: Bool, vertical: Bool) -> some View { ModifiedContent(self) }
  public func layoutPriority(_ value: Double) -> some View { ModifiedContent(self) }
  public func offset(x: CGFloat = 0, y: CGFloat = 0) -> some View { ModifiedContent(self) }
  public func scenePadding(_ edges: Edge.Set = .all) -> some View { ModifiedContent(self) }
  public func ignoresSafeArea(_ regions: SafeAreaRegions = .all, edges: Edge.Set = .all) -> some View {
    ModifiedContent(self)
  }
  public func safeAreaInset<V: View>(
    edge: VerticalEdge, alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil,
    @ViewBuilder content: () -> V
  ) -> some View {
    let view = content()
    return ModifiedContent(self) { [view] }
  }
  public func scrollDismissesKeyboard(_ mode: ScrollDismissesKeyboardMode) -> some View { ModifiedContent(self) }
  public func defaultScrollAnchor(_ anchor: UnitPoint?) -> some View { ModifiedContent(self) }
  public func scrollContentBackground(_ visibility: Visibility) -> some View { ModifiedContent(self) }
  public func scrollBounceBehavior(_ behavior: ScrollBounceBehavior, axes: Axis.Set = [.vertical]) -> some View {
    ModifiedContent(self)
  }
  public func scrollDisabled(_ disabled: Bool) -> some View { ModifiedContent(self) }
  public func onScrollGeometryChange<T: Equatable>(
    for type: T.Type, of transform: @escaping (ScrollGeometry) -> T,
    action: @escaping (_ oldValue: T, _ newValue: T) -> Void
  ) -> some View { ModifiedContent(self) }
  public func onScrollPhaseChange(_ action: @escaping (_ oldPhase: ScrollPhase, _ newPhase: ScrollPhase) -> Void)
    -> some View
  { ModifiedContent(self) }
}

public struct ScrollBounceBehavior: Sendable {
  public static let automatic = ScrollBounceBehavior()
  public static let always = ScrollBounceBehavior()
  public static let basedOnSize = ScrollBounceBehavior()
}
public struct SafeAreaRegions: OptionSet, Sendable {
  public let rawValue: UInt
  public init(rawValue: UInt) { self.rawValue = rawValue }
  public static let container = SafeAreaRegions(rawValue: 1)
  public static let keyboard = SafeAreaRegions(rawValue: 2)
  public static let all = SafeAreaRegions(rawValue: .max)
}
public enum Visibility: Hashable, CaseIterable, Sendable { case automatic, visible, hidden }
