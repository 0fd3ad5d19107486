public struct NavigationPath: Equatable {
  private var items: [AnyHashable] = []
  public init() {}
  public var count: Int { items.count }
  public var isEmpty: Bool { items.isEmpty }
  public mutating func append<V: Hashable>(_ value: V) { items.append(value) }
  public mutating func removeLast(_ k: Int = 1) { items.removeLast(k) }
}

public struct NavigationStack<Data, Root: View>: View, Element {
  public let parts: [any View]
  public init(@ViewBuilder root: () -> Root) where Data == NavigationPath { parts = [root()] }
  public init(path: Binding<NavigationPath>, @ViewBuilder root: () -> Root) where Data == NavigationPath {
    parts = [root()]
  }
  public init(path: Binding<Data>, @ViewBuilder root: () -> Root)
  where Data: MutableCollection & RandomAccessCollection & RangeReplaceableCollection, Data.Element: Hashable {
    parts = [root()]
  }
}

public struct NavigationSplitViewVisibility: Equatable, Sendable {
  let name: String
  public static let automatic = NavigationSplitViewVisibility(name: "automatic")
  public static let all = NavigationSplitViewVisibility(name: "all")
  public static let doubleColumn = NavigationSplitViewVisibility(name: "doubleColumn")
  public static let detailOnly = NavigationSplitViewVisibility(name: "detailOnly")
}
public struct NavigationSplitViewColumn: Hashable, Sendable {
  let name: String
  public static let sidebar = NavigationSplitViewColumn(name: "sidebar")
  public static let content = NavigationSplitViewColumn(name: "content")
  public static let detail = NavigationSplitViewColumn(name: "detail")
}

public struct NavigationSplitView<Sidebar: View, Content: View, Detail: View>: View, Element {
  public let parts: [any View]
  public init(
    @ViewBuilder sidebar: () -> Sidebar, @ViewBuilder content: () -> Content, @ViewBuilder detail: () -> Detail
  ) { parts = [sidebar(), content(), detail()] }
}
extension NavigationSplitView where Content == EmptyView {
  public init(@ViewBuilder sidebar: () -> Sidebar, @ViewBuilder detail: () -> Detail) { parts = [sidebar(), detail()] }
  public init(
    columnVisibility: Binding<NavigationSplitViewVisibility>, @ViewBuilder sidebar: () -> Sidebar,
    @ViewBuilder detail: () -> Detail
  ) { parts = [sidebar(), detail()] }
  public init(
    preferredCompactColumn: Binding<NavigationSplitViewColumn>, @ViewBuilder sidebar: () -> Sidebar,
    @ViewBuilder detail: () -> Detail
  ) { parts = [sidebar(), detail()] }
  public init(
    columnVisibility: Binding<NavigationSplitViewVisibility>,
    preferredCompactColumn: Binding<NavigationSplitViewColumn>, @ViewBuilder sidebar: () -> Sidebar,
    @ViewBuilder detail: () -> Detail
  ) { parts = [sidebar(), detail()] }
}
@MainActor @preconcurrency public protocol NavigationSplitViewStyle {}
public struct BalancedNavigationSplitViewStyle: NavigationSplitViewStyle {}
extension NavigationSplitViewStyle where Self == BalancedNavigationSplitViewStyle {
  public static var balanced: BalancedNavigationSplitViewStyle { BalancedNavigationSplitViewStyle() }
}

public struct NavigationLink<Label: View, Destination: View>: View, Element {
  public let parts: [any View]
}
extension NavigationLink {
  public init(@ViewBuilder destination: () -> Destination, @ViewBuilder label: () -> Label) { parts = [label()] }
}
extension NavigationLink where Label == Text {
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, @ViewBuilder destination: () -> Destination) {
    parts = [Text(title)]
  }
}
extension NavigationLink where Destination == Never {
  public init<P: Hashable>(value: P?, @ViewBuilder label: () -> Label) { parts = [label()] }
  @_disfavoredOverload public init<S: StringProtocol, P: Hashable>(_ title: S, value: P?) where Label == Text {
    parts = [Text(title)]
  }
}

public struct Tab<Value, Content: View, Label: View> {
  let parts: [any View]
}
extension Tab where Value: Hashable, Label == DefaultTabLabel {
  @_disfavoredOverload
  public init<S: StringProtocol>(_ title: S, systemImage: String, value: Value, @ViewBuilder content: () -> Content) {
    parts = [Text(title), content()]
  }
}
public struct DefaultTabLabel: View, Element {
  public var parts: [any View] { [] }
}
@resultBuilder public enum TabContentBuilder<TabValue: Hashable> {
  public static func buildExpression<C: View, L: View>(_ tab: Tab<TabValue, C, L>) -> [any View] { tab.parts }
  public static func buildBlock(_ tabs: [any View]...) -> [any View] { tabs.flatMap { $0 } }
}
public struct TabView<SelectionValue: Hashable>: View, Element {
  public let parts: [any View]
  public init(
    selection: Binding<SelectionValue>, @TabContentBuilder<SelectionValue> content: () -> [any View]
  ) { parts = content() }
}
@MainActor @preconcurrency public protocol TabViewStyle {}
public struct SidebarAdaptableTabViewStyle: TabViewStyle {}
extension TabViewStyle where Self == SidebarAdaptableTabViewStyle {
  public static var sidebarAdaptable: SidebarAdaptableTabViewStyle { SidebarAdaptableTabViewStyle() }
}

public struct NavigationBarItem: Sendable {
  public enum TitleDisplayMode: Sendable { case automatic, inline, large }
}

extension View {
  @_disfavoredOverload public func navigationTitle<S: StringProtocol>(_ title: S) -> some View {
    let view = Text(title)
    return ModifiedContent(self) { [view] }
  }
  public func navigationTitle(_ title: Text) -> some View { ModifiedContent(self) { [title] } }
  public func navigationBarTitleDisplayMode(_ displayMode: NavigationBarItem.TitleDisplayMode) -> some View {
    ModifiedContent(self)
  }
  public func navigationBarBackButtonHidden(_ hidesBackButton: Bool = true) -> some View { ModifiedContent(self) }
  public func navigationDestination<D: Hashable, C: View>(
    for data: D.Type, @ViewBuilder destination: @escaping (D) -> C
  ) -> some View { ModifiedContent(self) }
  public func navigationDestination<V: View>(isPresented: Binding<Bool>, @ViewBuilder destination: () -> V) -> some View
  {
    let view = destination()
    return ModifiedContent(self) { isPresented.wrappedValue ? [view] : [] }
  }
  public func navigationDestination<D: Hashable, C: View>(
    item: Binding<D?>, @ViewBuilder destination: @escaping (D) -> C
  ) -> some View { ModifiedContent(self) { item.wrappedValue.map { [destination($0)] } ?? [] } }
  public func navigationSplitViewStyle<S: NavigationSplitViewStyle>(_ style: S) -> some View { ModifiedContent(self) }
  public func navigationSplitViewColumnWidth(min: CGFloat? = nil, ideal: CGFloat, max: CGFloat? = nil) -> some View {
    ModifiedContent(self)
  }
  public func navigationSplitViewColumnWidth(_ width: CGFloat) -> some View { ModifiedContent(self) }
  public func tabViewStyle<S: TabViewStyle>(_ style: S) -> some View { ModifiedContent(self) }
  public func searchable(
    text: Binding<String>, placement: SearchFieldPlacement = .automatic, prompt: Text? = nil
  ) -> some View { ModifiedContent(self) }
  @_disfavoredOverload public func searchable<S: StringProtocol>(
    text: Binding<String>, placement: SearchFieldPlacement = .automatic, prompt: S
  ) -> some View { ModifiedContent(self) }
}

public struct SearchFieldPlacement: Sendable {
  public static let automatic = SearchFieldPlacement()
  public static let toolbar = SearchFieldPlacement()
  public static let sidebar = SearchFieldPlacement()
  public static let navigationBarDrawer = SearchFieldPlacement()
}
