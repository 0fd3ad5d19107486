public struct LocalizedStringKey: ExpressibleByStringInterpolation, Equatable {
  let key: String
  public init(_ value: String) { key = value }
  public init(stringLiteral value: String) { key = value }
}

public struct Text: View, Element, Equatable {
  public let words: String?
  public var parts: [any View] { [] }

  public init(verbatim content: String) { words = content }
  @_disfavoredOverload public init<S: StringProtocol>(_ content: S) { words = String(content) }
  public init(
    _ key: LocalizedStringKey, tableName: String? = nil, bundle: Bundle? = nil, comment: StaticString? = nil
  ) { words = key.key }
  public init(_ attributedContent: AttributedString) { words = String(attributedContent.characters) }
  public init(_ image: Image) { words = nil }
  public init(_ date: Date, style: DateStyle) { words = "\(date)" }
  public init<F: FormatStyle>(_ input: F.FormatInput, format: F)
  where F.FormatInput: Equatable, F.FormatOutput == String {
    words = format.format(input)
  }

  public struct DateStyle: Sendable {
    public static let time = DateStyle()
    public static let date = DateStyle()
    public static let relative = DateStyle()
    public static let offset = DateStyle()
    public static let timer = DateStyle()
  }

  public enum Case: Sendable { case uppercase, lowercase }
  public enum TruncationMode: Sendable { case head, tail, middle }

  public static func + (lhs: Text, rhs: Text) -> Text { Text(verbatim: (lhs.words ?? "") + (rhs.words ?? "")) }

  public func font(_ font: Font?) -> Text { self }
  public func fontWeight(_ weight: Font.Weight?) -> Text { self }
  public func fontDesign(_ design: Font.Design?) -> Text { self }
  public func bold() -> Text { self }
  public func bold(_ isActive: Bool) -> Text { self }
  public func italic() -> Text { self }
  public func italic(_ isActive: Bool) -> Text { self }
  public func monospaced(_ isActive: Bool = true) -> Text { self }
  public func monospacedDigit() -> Text { self }
  public func strikethrough(_ isActive: Bool = true, color: Color? = nil) -> Text { self }
  public func underline(_ isActive: Bool = true, color: Color? = nil) -> Text { self }
  public func foregroundStyle<S: ShapeStyle>(_ style: S) -> Text { self }
  public func foregroundColor(_ color: Color?) -> Text { self }
}

public enum TextAlignment: Hashable, CaseIterable, Sendable { case leading, center, trailing }

@MainActor @preconcurrency public protocol TextSelectability {
  static var allowsSelection: Bool { get }
}
public struct EnabledTextSelectability: TextSelectability { public static let allowsSelection = true }
public struct DisabledTextSelectability: TextSelectability { public static let allowsSelection = false }
extension TextSelectability where Self == EnabledTextSelectability {
  public static var enabled: EnabledTextSelectability { EnabledTextSelectability() }
}
extension TextSelectability where Self == DisabledTextSelectability {
  public static var disabled: DisabledTextSelectability { DisabledTextSelectability() }
}

extension View {
  public func multilineTextAlignment(_ alignment: TextAlignment) -> some View { ModifiedContent(self) }
  public func lineLimit(_ number: Int?) -> some View { ModifiedContent(self) }
  public func lineLimit(_ limit: ClosedRange<Int>) -> some View { ModifiedContent(self) }
  public func lineLimit(_ limit: PartialRangeThrough<Int>) -> some View { ModifiedContent(self) }
  public func lineLimit(_ limit: Int, reservesSpace: Bool) -> some View { ModifiedContent(self) }
  public func lineSpacing(_ lineSpacing: CGFloat) -> some View { ModifiedContent(self) }
  public func minimumScaleFactor(_ factor: CGFloat) -> some View { ModifiedContent(self) }
  public func truncationMode(_ mode: Text.TruncationMode) -> some View { ModifiedContent(self) }
  public func textCase(_ textCase: Text.Case?) -> some View { ModifiedContent(self) }
  public func textSelection<S: TextSelectability>(_ selectability: S) -> some View { ModifiedContent(self) }
  public func bold(_ isActive: Bool = true) -> some View { ModifiedContent(self) }
  public func italic(_ isActive: Bool = true) -> some View { ModifiedContent(self) }
  public func monospaced(_ isActive: Bool = true) -> some View { ModifiedContent(self) }
  public func monospacedDigit() -> some View { ModifiedContent(self) }
}
