public struct AccessibilityChildBehavior: Hashable, Sendable {
  let name: String
  public static let ignore = AccessibilityChildBehavior(name: "ignore")
  public static let contain = AccessibilityChildBehavior(name: "contain")
  public static let combine = AccessibilityChildBehavior(name: "combine")
}

public struct AccessibilityTraits: SetAlgebra, Sendable {
  public typealias Element = AccessibilityTraits
  private var bits: Int
  private init(bits: Int) { self.bits = bits }
  public init() { bits = 0 }
  public static let isButton = AccessibilityTraits(bits: 1)
  public static let isHeader = AccessibilityTraits(bits: 2)
  public static let isSelected = AccessibilityTraits(bits: 4)
  public static let isLink = AccessibilityTraits(bits: 8)
  public static let isImage = AccessibilityTraits(bits: 16)
  public static let isStaticText = AccessibilityTraits(bits: 32)
  public static let updatesFrequently = AccessibilityTraits(bits: 64)
  public static let isModal = AccessibilityTraits(bits: 128)
  public func contains(_ member: AccessibilityTraits) -> Bool { bits & member.bits == member.bits }
  public func union(_ other: AccessibilityTraits) -> AccessibilityTraits { .init(bits: bits | other.bits) }
  public func intersection(_ other: AccessibilityTraits) -> AccessibilityTraits { .init(bits: bits & other.bits) }
  public func symmetricDifference(_ other: AccessibilityTraits) -> AccessibilityTraits {
    .init(bits: bits ^ other.bits)
  }
  public mutating func insert(_ new: AccessibilityTraits) -> (inserted: Bool, memberAfterInsert: AccessibilityTraits) {
    defer { bits |= new.bits }
    return (!contains(new), new)
  }
  public mutating func remove(_ member: AccessibilityTraits) -> AccessibilityTraits? {
    defer { bits &= ~member.bits }
    return contains(member) ? member : nil
  }
  public mutating func update(with new: AccessibilityTraits) -> AccessibilityTraits? {
    defer { bits |= new.bits }
    return contains(new) ? new : nil
  }
  public mutating func formUnion(_ other: AccessibilityTraits) { bits |= other.bits }
  public mutating func formIntersection(_ other: AccessibilityTraits) { bits &= other.bits }
  public mutating func formSymmetricDifference(_ other: AccessibilityTraits) { bits ^= other.bits }
}

public struct AccessibilityActionKind: Equatable, Sendable {
  public static let `default` = AccessibilityActionKind()
  public static let escape = AccessibilityActionKind()
  public static let magicTap = AccessibilityActionKind()
}

/// A label that VoiceOver reads in place of what is shown.
public struct LabelledView<Content: View>: View, Element {
  let content: Content
  public let words: String?
  public var parts: [any View] { [content] }
}

extension View {
  @_disfavoredOverload public func accessibilityLabel<S: StringProtocol>(_ label: S) -> some View {
    LabelledView(content: self, words: String(label))
  }
  public func accessibilityLabel(_ label: Text) -> some View { LabelledView(content: self, words: label.words) }
  @_disfavoredOverload public func accessibilityValue<S: StringProtocol>(_ value: S) -> some View {
    ModifiedContent(self)
  }
  public func accessibilityValue(_ value: Text) -> some View { ModifiedContent(self) }
  @_disfavoredOverload public func accessibilityHint<S: StringProtocol>(_ hint: S) -> some View {
    ModifiedContent(self)
  }
  public func accessibilityIdentifier(_ identifier: String) -> some View {
    LabelledView(content: self, words: identifier)
  }
  public func accessibilityHidden(_ hidden: Bool) -> some View { ModifiedContent(self) }
  public func accessibilityElement(children: AccessibilityChildBehavior = .ignore) -> some View {
    ModifiedContent(self)
  }
  public func accessibilityAddTraits(_ traits: AccessibilityTraits) -> some View { ModifiedContent(self) }
  public func accessibilityRemoveTraits(_ traits: AccessibilityTraits) -> some View { ModifiedContent(self) }
  public func accessibilitySortPriority(_ sortPriority: Double) -> some View { ModifiedContent(self) }
  public func accessibilityAction(_ kind: AccessibilityActionKind = .default, _ handler: @escaping () -> Void)
    -> some View
  { ModifiedContent(self) }
  @_disfavoredOverload
  public func accessibilityAction<S: StringProtocol>(named name: S, _ handler: @escaping () -> Void) -> some View {
    ModifiedContent(self)
  }
  public func accessibilityFocused(_ condition: AccessibilityFocusState<Bool>.Binding) -> some View {
    ModifiedContent(self)
  }
  public func accessibilityShowsLargeContentViewer() -> some View { ModifiedContent(self) }
}
