public struct Image: View, Element, Equatable {
  let name: String
  public init(_ name: String, bundle: Bundle? = nil) { self.name = name }
  public init(systemName: String) { name = systemName }
  public init(decorative name: String, bundle: Bundle? = nil) { self.name = name }
  public var parts: [any View] { [] }
  public enum Scale: Hashable, Sendable { case small, medium, large }
  public func resizable() -> Image { self }
}

public struct SymbolRenderingMode: Sendable {
  public static let monochrome = SymbolRenderingMode()
  public static let hierarchical = SymbolRenderingMode()
  public static let multicolor = SymbolRenderingMode()
}

public struct Label<Title: View, Icon: View>: View, Element {
  public let parts: [any View]
  public init(@ViewBuilder title: () -> Title, @ViewBuilder icon: () -> Icon) { parts = [title(), icon()] }
}
extension Label where Title == Text, Icon == Image {
  public init(_ titleKey: LocalizedStringKey, systemImage name: String) {
    self.init {
      Text(titleKey)
    } icon: {
      Image(systemName: name)
    }
  }
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, systemImage name: String) {
    self.init {
      Text(title)
    } icon: {
      Image(systemName: name)
    }
  }
}
@MainActor @preconcurrency public protocol LabelStyle {}
public struct IconOnlyLabelStyle: LabelStyle {}
public struct TitleOnlyLabelStyle: LabelStyle {}
public struct TitleAndIconLabelStyle: LabelStyle {}
extension LabelStyle where Self == IconOnlyLabelStyle {
  public static var iconOnly: IconOnlyLabelStyle { IconOnlyLabelStyle() }
}
extension LabelStyle where Self == TitleOnlyLabelStyle {
  public static var titleOnly: TitleOnlyLabelStyle { TitleOnlyLabelStyle() }
}
extension LabelStyle where Self == TitleAndIconLabelStyle {
  public static var titleAndIcon: TitleAndIconLabelStyle { TitleAndIconLabelStyle() }
}

public struct LabeledContent<Label: View, Content: View>: View, Element {
  public let parts: [any View]
  public init(@ViewBuilder content: () -> Content, @ViewBuilder label: () -> Label) { parts = [label(), content()] }
}
extension LabeledContent where Label == Text {
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) {
    self.init(content: content) { Text(title) }
  }
}
extension LabeledContent where Label == Text, Content == Text {
  @_disfavoredOverload public init<S1: StringProtocol, S2: StringProtocol>(_ title: S1, value: S2) {
    self.init {
      Text(value)
    } label: {
      Text(title)
    }
  }
}

public struct Link<Label: View>: View, Element {
  public let parts: [any View]
  public init(destination: URL, @ViewBuilder label: () -> Label) { parts = [label()] }
}
extension Link where Label == Text {
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, destination: URL) {
    self.init(destination: destination) { Text(title) }
  }
}

public struct SharePreview<Image, Icon> {}
extension SharePreview where Image == Never, Icon == Never {
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S) {}
}

public struct ShareLink<Data, PreviewImage, PreviewIcon, Label: View>: View, Element {
  public let parts: [any View]
}
extension ShareLink where PreviewImage == Never, PreviewIcon == Never {
  public init<I: Transferable>(
    item: I, subject: Text? = nil, message: Text? = nil, preview: SharePreview<PreviewImage, PreviewIcon>,
    @ViewBuilder label: () -> Label
  ) where Data == CollectionOfOne<I> { parts = [label()] }
  public init(item: String, subject: Text? = nil, message: Text? = nil, @ViewBuilder label: () -> Label)
  where Data == CollectionOfOne<String> { parts = [label()] }
  public init(item: URL, subject: Text? = nil, message: Text? = nil, @ViewBuilder label: () -> Label)
  where Data == CollectionOfOne<URL> { parts = [label()] }
}
extension ShareLink where PreviewImage == Never, PreviewIcon == Never, Label == DefaultShareLinkLabel {
  public init(item: String, subject: Text? = nil, message: Text? = nil) where Data == CollectionOfOne<String> {
    parts = []
  }
  public init(item: URL, subject: Text? = nil, message: Text? = nil) where Data == CollectionOfOne<URL> { parts = [] }
  @_disfavoredOverload
  public init<S: StringProtocol>(_ title: S, item: String, subject: Text? = nil, message: Text? = nil)
  where Data == CollectionOfOne<String> { parts = [Text(title)] }
  @_disfavoredOverload
  public init<S: StringProtocol>(_ title: S, item: URL, subject: Text? = nil, message: Text? = nil)
  where Data == CollectionOfOne<URL> { parts = [Text(title)] }
}
public struct DefaultShareLinkLabel: View, Element {
  public var parts: [any View] { [] }
}

public struct PasteButton: View, Element {
  public init<T: Transferable>(payloadType: T.Type, onPaste: @escaping ([T]) -> Void) {}
  public var parts: [any View] { [] }
}

public struct ContentUnavailableView<Label: View, Description: View, Actions: View>: View, Element {
  public let parts: [any View]
  public init(
    @ViewBuilder label: () -> Label, @ViewBuilder description: () -> Description = { EmptyView() },
    @ViewBuilder actions: () -> Actions = { EmptyView() }
  ) { parts = [label(), description(), actions()] }
}
extension ContentUnavailableView where Label == SwiftUI.Label<Text, Image>, Description == Text?, Actions == EmptyView {
  @_disfavoredOverload
  public init<S: StringProtocol>(_ title: S, systemImage name: String, description: Text? = nil) {
    parts = [SwiftUI.Label(title, systemImage: name), description]
  }
  public static var search: ContentUnavailableView { ContentUnavailableView("Search", systemImage: "magnifyingglass") }
  public static func search(text: String) -> ContentUnavailableView {
    ContentUnavailableView(text, systemImage: "magnifyingglass")
  }
}

extension View {
  public func labelStyle<S: LabelStyle>(_ style: S) -> some View { ModifiedContent(self) }
  public func imageScale(_ scale: Image.Scale) -> some View { ModifiedContent(self) }
  public func symbolRenderingMode(_ mode: SymbolRenderingMode?) -> some View { ModifiedContent(self) }
}
