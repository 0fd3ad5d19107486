public struct TextField<Label: View>: View, Element {
  public let parts: [any View]
  let text: Binding<String>
  public var words: String? { text.wrappedValue }
}
extension TextField where Label == Text {
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, text: Binding<String>) {
    self.init(parts: [Text(title)], text: text)
  }
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, text: Binding<String>, axis: Axis) {
    self.init(parts: [Text(title)], text: text)
  }
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, text: Binding<String>, prompt: Text?) {
    self.init(parts: [Text(title)], text: text)
  }
  @_disfavoredOverload public init<S: StringProtocol>(_ title: S, text: Binding<String>, prompt: Text?, axis: Axis) {
    self.init(parts: [Text(title)], text: text)
  }
}

public struct TextEditor: View, Element {
  let text: Binding<String>
  public init(text: Binding<String>) { self.text = text }
  public var parts: [any View] { [] }
  public var words: String? { text.wrappedValue }
}

@MainActor @preconcurrency public protocol TextFieldStyle {}
public struct RoundedBorderTextFieldStyle: TextFieldStyle {}
public struct PlainTextFieldStyle: TextFieldStyle {}
extension TextFieldStyle where Self == RoundedBorderTextFieldStyle {
  public static var roundedBorder: RoundedBorderTextFieldStyle { RoundedBorderTextFieldStyle() }
}
extension TextFieldStyle where Self == PlainTextFieldStyle {
  public static var plain: PlainTextFieldStyle { PlainTextFieldStyle() }
}

public struct SubmitLabel: Sendable {
  public static let done = SubmitLabel()
  public static let go = SubmitLabel()
  public static let send = SubmitLabel()
  public static let search = SubmitLabel()
  public static let `return` = SubmitLabel()
  public static let next = SubmitLabel()
}
public struct SubmitTriggers: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  public static let text = SubmitTriggers(rawValue: 1)
  public static let search = SubmitTriggers(rawValue: 2)
}
public struct TextInputAutocapitalization: Sendable {
  public static let never = TextInputAutocapitalization()
  public static let words = TextInputAutocapitalization()
  public static let sentences = TextInputAutocapitalization()
  public static let characters = TextInputAutocapitalization()
}
public enum UIKeyboardType: Int, Sendable { case `default`, asciiCapable, URL, numberPad, decimalPad }

extension View {
  public func textFieldStyle<S: TextFieldStyle>(_ style: S) -> some View { ModifiedContent(self) }
  public func submitLabel(_ submitLabel: SubmitLabel) -> some View { ModifiedContent(self) }
  public func onSubmit(of triggers: SubmitTriggers = .text, _ action: @escaping () -> Void) -> some View {
    ModifiedContent(self)
  }
  public func textInputAutocapitalization(_ autocapitalization: TextInputAutocapitalization?) -> some View {
    ModifiedContent(self)
  }
  public func autocorrectionDisabled(_ disable: Bool = true) -> some View { ModifiedContent(self) }
  public func keyboardType(_ type: UIKeyboardType) -> some View { ModifiedContent(self) }
  public func focused(_ condition: FocusState<Bool>.Binding) -> some View { ModifiedContent(self) }
  public func focused<Value: Hashable>(_ binding: FocusState<Value>.Binding, equals value: Value) -> some View {
    ModifiedContent(self)
  }
}
