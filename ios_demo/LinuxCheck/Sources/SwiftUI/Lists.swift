public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content> {
  let each: [any View]
}
extension ForEach: View, Element where Content: View {
  public var parts: [any View] { each }
  public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content)
  where Data.Element: Identifiable, ID == Data.Element.ID { each = data.map { content($0) } }
  public init(_ data: Data, id: KeyPath<Data.Element, ID>, @ViewBuilder content: @escaping (Data.Element) -> Content) {
    each = data.map { content($0) }
  }
}
extension ForEach where Data == Range<Int>, ID == Int, Content: View {
  public init(_ data: Range<Int>, @ViewBuilder content: @escaping (Int) -> Content) { each = data.map { content($0) } }
}
extension ForEach where Content: View {
  public func onDelete(perform action: ((IndexSet) -> Void)?) -> some View { self }
}

public struct List<SelectionValue: Hashable, Content: View>: View, Element {
  public let parts: [any View]
  public init(selection: Binding<SelectionValue?>?, @ViewBuilder content: () -> Content) { parts = [content()] }
  public init(selection: Binding<Set<SelectionValue>>?, @ViewBuilder content: () -> Content) { parts = [content()] }
  public init<Data: RandomAccessCollection, RowContent: View>(
    _ data: Data, selection: Binding<SelectionValue?>?, @ViewBuilder rowContent: @escaping (Data.Element) -> RowContent
  ) where Content == ForEach<Data, Data.Element.ID, RowContent>, Data.Element: Identifiable {
    parts = [ForEach(data, content: rowContent)]
  }
}
extension List where SelectionValue == Never {
  public init(@ViewBuilder content: () -> Content) { parts = [content()] }
  public init<Data: RandomAccessCollection, RowContent: View>(
    _ data: Data, @ViewBuilder rowContent: @escaping (Data.Element) -> RowContent
  ) where Content == ForEach<Data, Data.Element.ID, RowContent>, Data.Element: Identifiable {
    parts = [ForEach(data, content: rowContent)]
  }
}

public struct Section<Parent, Content, Footer> {
  let all: [any View]
}
extension Section: View, Element where Parent: View, Content: View, Footer: View {
  public var parts: [any View] { all }
  public init(
    @ViewBuilder content: () -> Content, @ViewBuilder header: () -> Parent, @ViewBuilder footer: () -> Footer
  ) { all = [header(), content(), footer()] }
}
extension Section where Parent == EmptyView, Content: View, Footer == EmptyView {
  public init(@ViewBuilder content: () -> Content) { all = [content()] }
}
extension Section where Parent == EmptyView, Content: View, Footer: View {
  public init(@ViewBuilder content: () -> Content, @ViewBuilder footer: () -> Footer) { all = [content(), footer()] }
}
extension Section where Parent: View, Content: View, Footer == EmptyView {
  public init(@ViewBuilder content: () -> Content, @ViewBuilder header: () -> Parent) { all = [header(), content()] }
}
extension Section where Parent == Text, Content: View, Footer == EmptyView {
  public init(_ titleKey: LocalizedStringKey, @ViewBuilder content: () -> Content) {
    all = [Text(titleKey), content()]
  }
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) {
    all = [Text(title), content()]
  }
}

public struct Form<Content: View>: View, Element {
  public let parts: [any View]
  public init(@ViewBuilder content: () -> Content) { parts = [content()] }
}
public struct GroupBox<Label: View, Content: View>: View, Element {
  public let parts: [any View]
  public init(@ViewBuilder content: () -> Content, @ViewBuilder label: () -> Label) { parts = [label(), content()] }
}
extension GroupBox where Label == EmptyView {
  public init(@ViewBuilder content: () -> Content) { parts = [content()] }
}
extension GroupBox where Label == Text {
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) {
    parts = [Text(title), content()]
  }
}

@MainActor @preconcurrency public protocol ListStyle {}
public struct PlainListStyle: ListStyle {}
public struct InsetGroupedListStyle: ListStyle {}
public struct SidebarListStyle: ListStyle {}
extension ListStyle where Self == PlainListStyle { public static var plain: PlainListStyle { PlainListStyle() } }
extension ListStyle where Self == InsetGroupedListStyle {
  public static var insetGrouped: InsetGroupedListStyle { InsetGroupedListStyle() }
}
extension ListStyle where Self == SidebarListStyle {
  public static var sidebar: SidebarListStyle { SidebarListStyle() }
}
@MainActor @preconcurrency public protocol FormStyle {}
public struct GroupedFormStyle: FormStyle {}
extension FormStyle where Self == GroupedFormStyle {
  public static var grouped: GroupedFormStyle { GroupedFormStyle() }
}

extension View {
  public func listStyle<S: ListStyle>(_ style: S) -> some View { ModifiedContent(self) }
  public func formStyle<S: FormStyle>(_ style: S) -> some View { ModifiedContent(self) }
  public func listRowSeparator(_ visibility: Visibility, edges: VerticalEdge.Set = .all) -> some View {
    ModifiedContent(self)
  }
  public func listRowInsets(_ insets: EdgeInsets?) -> some View { ModifiedContent(self) }
  public func listRowBackground<V: View>(_ view: V?) -> some View { ModifiedContent(self) }
  public func listSectionSpacing(_ spacing: CGFloat) -> some View { ModifiedContent(self) }
  public func headerProminence(_ prominence: Prominence) -> some View { ModifiedContent(self) }
  public func badge(_ count: Int) -> some View { ModifiedContent(self) }
  public func refreshable(@_inheritActorContext action: @escaping @Sendable () async -> Void) -> some View {
    ModifiedContent(self)
  }
  public func swipeActions<T: View>(
    edge: HorizontalEdge = .trailing, allowsFullSwipe: Bool = true, @ViewBuilder content: () -> T
  ) -> some View {
    let view = content()
    return ModifiedContent(self) { [view] }
  }
  public func contextMenu<MenuItems: View>(@ViewBuilder menuItems: () -> MenuItems) -> some View {
    let view = menuItems()
    return ModifiedContent(self) { [view] }
  }
}

extension VerticalEdge {
  public struct Set: OptionSet, Sendable {
    public let rawValue: Int8
    public init(rawValue: Int8) { self.rawValue = rawValue }
    public static let top = Set(rawValue: 1)
    public static let bottom = Set(rawValue: 2)
    public static let all = Set(rawValue: 3)
  }
}
public enum Prominence: Sendable { case standard, increased }
