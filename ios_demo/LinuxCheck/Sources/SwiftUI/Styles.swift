public protocol ShapeStyle: Sendable {}
extension ShapeStyle {
  public func opacity(_ opacity: Double) -> some ShapeStyle { self }
}

public struct Color: View, Element, ShapeStyle, Hashable, Sendable {
  public nonisolated init(_ name: String, bundle: Bundle? = nil) {}
  public nonisolated init(uiColor: UIColor) {}
  nonisolated init() {}
  public var parts: [any View] { [] }
  public static let red = Color()
  public static let orange = Color()
  public static let yellow = Color()
  public static let green = Color()
  public static let mint = Color()
  public static let teal = Color()
  public static let blue = Color()
  public static let indigo = Color()
  public static let purple = Color()
  public static let pink = Color()
  public static let brown = Color()
  public static let white = Color()
  public static let gray = Color()
  public static let black = Color()
  public static let clear = Color()
  public static let primary = Color()
  public static let secondary = Color()
  public static var accentColor: Color { Color() }
  public func opacity(_ opacity: Double) -> Color { self }
}

extension ShapeStyle where Self == Color {
  public static var red: Color { .red }
  public static var orange: Color { .orange }
  public static var yellow: Color { .yellow }
  public static var green: Color { .green }
  public static var blue: Color { .blue }
  public static var purple: Color { .purple }
  public static var white: Color { .white }
  public static var gray: Color { .gray }
  public static var black: Color { .black }
  public static var clear: Color { .clear }
}

public struct HierarchicalShapeStyle: ShapeStyle {}
extension ShapeStyle where Self == HierarchicalShapeStyle {
  public static var primary: HierarchicalShapeStyle { HierarchicalShapeStyle() }
  public static var secondary: HierarchicalShapeStyle { HierarchicalShapeStyle() }
  public static var tertiary: HierarchicalShapeStyle { HierarchicalShapeStyle() }
  public static var quaternary: HierarchicalShapeStyle { HierarchicalShapeStyle() }
}

public struct TintShapeStyle: ShapeStyle {}
extension ShapeStyle where Self == TintShapeStyle {
  public static var tint: TintShapeStyle { TintShapeStyle() }
}

public struct BackgroundStyle: ShapeStyle {}
extension ShapeStyle where Self == BackgroundStyle {
  public static var background: BackgroundStyle { BackgroundStyle() }
}

public struct FillShapeStyle: ShapeStyle {}
extension ShapeStyle where Self == FillShapeStyle {
  public static var fill: FillShapeStyle { FillShapeStyle() }
}

public struct AnyShapeStyle: ShapeStyle {
  public init<S: ShapeStyle>(_ style: S) {}
}

public struct Material: ShapeStyle {
  public static let regular = Material()
  public static let thick = Material()
  public static let thin = Material()
  public static let ultraThin = Material()
  public static let bar = Material()
}
extension ShapeStyle where Self == Material {
  public static var regularMaterial: Material { .regular }
  public static var thinMaterial: Material { .thin }
  public static var ultraThinMaterial: Material { .ultraThin }
  public static var bar: Material { .bar }
}

@MainActor @preconcurrency public protocol Shape: View {}
extension Shape {
  public func fill<S: ShapeStyle>(_ content: S) -> some View { ModifiedContent(self) }
  public func stroke<S: ShapeStyle>(_ content: S, lineWidth: CGFloat = 1) -> some View { ModifiedContent(self) }
}
public struct Rectangle: Shape, Element {
  public init() {}
  public var parts: [any View] { [] }
}
public struct RoundedRectangle: Shape, Element {
  public init(cornerRadius: CGFloat, style: RoundedCornerStyle = .continuous) {}
  public var parts: [any View] { [] }
}
public struct Capsule: Shape, Element {
  public init(style: RoundedCornerStyle = .continuous) {}
  public var parts: [any View] { [] }
}
public struct Circle: Shape, Element {
  public init() {}
  public var parts: [any View] { [] }
}
public enum RoundedCornerStyle: Sendable { case circular, continuous }
extension Shape where Self == Rectangle { public static var rect: Rectangle { Rectangle() } }
extension Shape where Self == RoundedRectangle {
  public static func rect(cornerRadius: CGFloat, style: RoundedCornerStyle = .continuous) -> RoundedRectangle {
    RoundedRectangle(cornerRadius: cornerRadius)
  }
}
extension Shape where Self == Capsule { public static var capsule: Capsule { Capsule() } }
extension Shape where Self == Circle { public static var circle: Circle { Circle() } }

extension View {
  public func foregroundStyle<S: ShapeStyle>(_ style: S) -> some View { ModifiedContent(self) }
  public func foregroundColor(_ color: Color?) -> some View { ModifiedContent(self) }
  public func tint<S: ShapeStyle>(_ tint: S?) -> some View { ModifiedContent(self) }
  public func tint(_ tint: Color?) -> some View { ModifiedContent(self) }
  public func background<V: View>(alignment: Alignment = .center, @ViewBuilder content: () -> V) -> some View {
    let view = content()
    return ModifiedContent(self) { [view] }
  }
  public func background<S: ShapeStyle>(_ style: S, ignoresSafeAreaEdges edges: Edge.Set = .all) -> some View {
    ModifiedContent(self)
  }
  public func background<S: ShapeStyle, T: Shape>(_ style: S, in shape: T) -> some View { ModifiedContent(self) }
  public func overlay<V: View>(alignment: Alignment = .center, @ViewBuilder content: () -> V) -> some View {
    let view = content()
    return ModifiedContent(self) { [view] }
  }
  public func clipShape<S: Shape>(_ shape: S) -> some View { ModifiedContent(self) }
  public func contentShape<S: Shape>(_ shape: S) -> some View { ModifiedContent(self) }
  public func opacity(_ opacity: Double) -> some View { ModifiedContent(self) }
  public func shadow(color: Color = .black, radius: CGFloat, x: CGFloat = 0, y: CGFloat = 0) -> some View {
    ModifiedContent(self)
  }
}
