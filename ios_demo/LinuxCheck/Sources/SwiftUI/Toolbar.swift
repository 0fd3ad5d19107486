@MainActor @preconcurrency public protocol ToolbarContent {
  associatedtype Body: ToolbarContent
  @ToolbarContentBuilder @MainActor @preconcurrency var body: Body { get }
}
/// Toolbar items that have no body. Of this stand-in, not of SwiftUI.
@MainActor @preconcurrency public protocol ToolbarElement { var parts: [any View] { get } }

extension Never: ToolbarContent {}
extension ToolbarElement where Self: ToolbarContent {
  public var body: Never { fatalError("\(Self.self) has no body") }
}

public struct ToolbarItemPlacement: Sendable {
  public static let automatic = ToolbarItemPlacement()
  public static let principal = ToolbarItemPlacement()
  public static let navigation = ToolbarItemPlacement()
  public static let primaryAction = ToolbarItemPlacement()
  public static let secondaryAction = ToolbarItemPlacement()
  public static let status = ToolbarItemPlacement()
  public static let confirmationAction = ToolbarItemPlacement()
  public static let cancellationAction = ToolbarItemPlacement()
  public static let destructiveAction = ToolbarItemPlacement()
  public static let keyboard = ToolbarItemPlacement()
  public static let topBarLeading = ToolbarItemPlacement()
  public static let topBarTrailing = ToolbarItemPlacement()
  public static let bottomBar = ToolbarItemPlacement()
}

public struct ToolbarItem<ID, Content: View>: ToolbarContent, ToolbarElement {
  public let parts: [any View]
  public init(placement: ToolbarItemPlacement = .automatic, @ViewBuilder content: () -> Content) where ID == Void {
    parts = [content()]
  }
}
public struct ToolbarItemGroup<Content: View>: ToolbarContent, ToolbarElement {
  public let parts: [any View]
  public init(placement: ToolbarItemPlacement = .automatic, @ViewBuilder content: () -> Content) { parts = [content()] }
}
public struct TupleToolbarContent: ToolbarContent, ToolbarElement {
  public let parts: [any View]
}
extension Optional: ToolbarContent where Wrapped: ToolbarContent {
  public var body: Never { fatalError("Optional has no body") }
}
extension Optional: ToolbarElement where Wrapped: ToolbarContent {
  public var parts: [any View] { map { toolbarParts($0) } ?? [] }
}

@MainActor func toolbarParts(_ content: any ToolbarContent) -> [any View] {
  if let element = content as? any ToolbarElement { return element.parts }
  return toolbarParts(content.body)
}

@resultBuilder public enum ToolbarContentBuilder {
  public static func buildExpression<Content: ToolbarContent>(_ content: Content) -> Content { content }
  public static func buildBlock<Content: ToolbarContent>(_ content: Content) -> Content { content }
  @_disfavoredOverload @MainActor public static func buildBlock<each Content: ToolbarContent>(
    _ content: repeat each Content
  ) -> TupleToolbarContent {
    var parts: [any View] = []
    repeat parts.append(contentsOf: toolbarParts(each content))
    return TupleToolbarContent(parts: parts)
  }
  public static func buildIf<Content: ToolbarContent>(_ content: Content?) -> Content? { content }
  @MainActor public static func buildEither<Content: ToolbarContent>(first: Content) -> TupleToolbarContent {
    TupleToolbarContent(parts: toolbarParts(first))
  }
  @MainActor public static func buildEither<Content: ToolbarContent>(second: Content) -> TupleToolbarContent {
    TupleToolbarContent(parts: toolbarParts(second))
  }
}

extension View {
  public func toolbar<Content: View>(@ViewBuilder content: () -> Content) -> some View {
    let view = content()
    return ModifiedContent(self) { [view] }
  }
  public func toolbar<Content: ToolbarContent>(@ToolbarContentBuilder content: () -> Content) -> some View {
    let parts = toolbarParts(content())
    return ModifiedContent(self) { parts }
  }
  public func toolbarTitleDisplayMode(_ mode: ToolbarTitleDisplayMode) -> some View { ModifiedContent(self) }
}

public struct ToolbarTitleDisplayMode: Sendable {
  public static let automatic = ToolbarTitleDisplayMode()
  public static let inline = ToolbarTitleDisplayMode()
  public static let large = ToolbarTitleDisplayMode()
}
