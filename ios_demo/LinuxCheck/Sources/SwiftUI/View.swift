// Stand-in of the part of SwiftUI that the app uses: declarations as Apple documents them. It draws nothing, but holds
// what views are made of, so that tests can look through a screen and press its buttons.
@_exported import CoreTransferable
@_exported import Foundation
@_exported import Observation
@_exported import UIKit
@_exported import UniformTypeIdentifiers

@MainActor @preconcurrency public protocol View {
  associatedtype Body: View
  @ViewBuilder @MainActor @preconcurrency var body: Body { get }
}

/// A view that has no body: what stands in it, and what can be done with it. Of this stand-in, not of SwiftUI.
@MainActor @preconcurrency public protocol Element {
  var parts: [any View] { get }
  var words: String? { get }
  var press: (@MainActor () -> Void)? { get }
}

extension Element {
  public var words: String? { nil }
  public var press: (@MainActor () -> Void)? { nil }
}

extension Element where Self: View {
  public var body: Never { fatalError("\(Self.self) has no body") }
}

extension Never: View {
  public var body: Never { fatalError("Never has no body") }
}

public struct EmptyView: View, Element {
  public init() {}
  public var parts: [any View] { [] }
}

public struct AnyView: View, Element {
  public let parts: [any View]
  public init<V: View>(_ view: V) { parts = [view] }
}

public struct TupleView<T>: View, Element {
  public let parts: [any View]
  init(parts: [any View]) { self.parts = parts }
}

public struct _ConditionalContent<TrueContent: View, FalseContent: View>: View, Element {
  public let parts: [any View]
}

extension Optional: View where Wrapped: View {
  public var body: Never { fatalError("Optional has no body") }
}

extension Optional: Element where Wrapped: View {
  public var parts: [any View] { map { [$0] } ?? [] }
}

@resultBuilder public enum ViewBuilder {
  public static func buildExpression<Content: View>(_ content: Content) -> Content { content }
  @MainActor public static func buildBlock() -> EmptyView { EmptyView() }
  public static func buildBlock<Content: View>(_ content: Content) -> Content { content }

  @_disfavoredOverload @MainActor public static func buildBlock<each Content: View>(
    _ content: repeat each Content
  ) -> TupleView<(repeat each Content)> {
    var parts: [any View] = []
    repeat parts.append(each content)
    return TupleView(parts: parts)
  }

  public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }

  @MainActor public static func buildEither<T: View, F: View>(first: T) -> _ConditionalContent<T, F> {
    _ConditionalContent(parts: [first])
  }

  @MainActor public static func buildEither<T: View, F: View>(second: F) -> _ConditionalContent<T, F> {
    _ConditionalContent(parts: [second])
  }

  @MainActor public static func buildLimitedAvailability<Content: View>(_ content: Content) -> AnyView {
    AnyView(content)
  }
}

/// `Content` with something done to it. `more` is what stands beside it: an overlay, a sheet that is open.
public struct ModifiedContent<Content: View>: View, Element {
  let content: Content
  let more: @MainActor () -> [any View]

  init(_ content: Content, more: @escaping @MainActor () -> [any View] = { [] }) {
    self.content = content
    self.more = more
  }

  public var parts: [any View] { [content] + more() }
}

@MainActor @preconcurrency public protocol ViewModifier {
  associatedtype Body: View
  typealias Content = _ViewModifier_Content<Self>
  @ViewBuilder @MainActor @preconcurrency func body(content: Content) -> Body
}

public struct _ViewModifier_Content<Modifier: ViewModifier>: View, Element {
  public let parts: [any View]
}

extension View {
  public func modifier<M: ViewModifier>(_ modifier: M) -> some View {
    modifier.body(content: _ViewModifier_Content<M>(parts: [self]))
  }
}
