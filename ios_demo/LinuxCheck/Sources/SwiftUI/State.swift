// Property wrappers. State keeps its value in a box that copies of a view share.

@propertyWrapper public struct State<Value> {
  final class Box {
    var value: Value
    init(_ value: Value) { self.value = value }
  }

  let box: Box
  public init(wrappedValue value: Value) { box = Box(value) }
  public init(initialValue value: Value) { box = Box(value) }
  public var wrappedValue: Value {
    get { box.value }
    nonmutating set { box.value = newValue }
  }
  public var projectedValue: Binding<Value> {
    Binding(get: { [box] in box.value }, set: { [box] in box.value = $0 })
  }
}

extension State: @unchecked Sendable where Value: Sendable {}

extension State where Value: ExpressibleByNilLiteral {
  public init() { self.init(wrappedValue: nil) }
}

@propertyWrapper @dynamicMemberLookup public struct Binding<Value> {
  let read: () -> Value
  let write: (Value) -> Void

  public init(get: @escaping () -> Value, set: @escaping (Value) -> Void) {
    read = get
    write = set
  }
  public init(projectedValue: Binding<Value>) { self = projectedValue }
  public init<V>(_ base: Binding<V>) where Value == V? {
    self.init(get: { base.wrappedValue }, set: { if let value = $0 { base.wrappedValue = value } })
  }
  public init?(_ base: Binding<Value?>) {
    guard let start = base.wrappedValue else { return nil }
    self.init(get: { base.wrappedValue ?? start }, set: { base.wrappedValue = $0 })
  }
  public static func constant(_ value: Value) -> Binding<Value> { Binding(get: { value }, set: { _ in }) }

  public var wrappedValue: Value {
    get { read() }
    nonmutating set { write(newValue) }
  }
  public var projectedValue: Binding<Value> { self }
  public subscript<Subject>(dynamicMember keyPath: WritableKeyPath<Value, Subject>) -> Binding<Subject> {
    Binding<Subject>(
      get: { wrappedValue[keyPath: keyPath] },
      set: {
        var value = wrappedValue
        value[keyPath: keyPath] = $0
        wrappedValue = value
      })
  }
}

extension Binding: @unchecked Sendable where Value: Sendable {}

@dynamicMemberLookup @propertyWrapper public struct Bindable<Value: AnyObject & Observable> {
  public var wrappedValue: Value
  public var projectedValue: Bindable<Value> { self }
  public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
  public init(_ wrappedValue: Value) { self.wrappedValue = wrappedValue }
  public subscript<Subject>(dynamicMember keyPath: ReferenceWritableKeyPath<Value, Subject>) -> Binding<Subject> {
    let object = wrappedValue
    return Binding(get: { object[keyPath: keyPath] }, set: { object[keyPath: keyPath] = $0 })
  }
}

@MainActor @preconcurrency @propertyWrapper public struct AppStorage<Value> {
  let start: Value
  public var wrappedValue: Value {
    get { start }
    nonmutating set {}
  }
  public var projectedValue: Binding<Value> { .constant(start) }
}

extension AppStorage where Value == Bool {
  public init(wrappedValue: Bool, _ key: String, store: UserDefaults? = nil) { start = wrappedValue }
}

extension AppStorage where Value == String {
  public init(wrappedValue: String, _ key: String, store: UserDefaults? = nil) { start = wrappedValue }
}

@MainActor @preconcurrency @propertyWrapper public struct SceneStorage<Value> {
  let box: State<Value>
  public var wrappedValue: Value {
    get { box.wrappedValue }
    nonmutating set { box.wrappedValue = newValue }
  }
  public var projectedValue: Binding<Value> { box.projectedValue }
}

extension SceneStorage where Value == String {
  public init(wrappedValue: String, _ key: String) { box = State(wrappedValue: wrappedValue) }
}

extension SceneStorage where Value == String? {
  public init(_ key: String) { box = State(wrappedValue: nil) }
}

@MainActor @preconcurrency @propertyWrapper public struct FocusState<Value: Hashable> {
  @propertyWrapper public struct Binding {
    let binding: SwiftUI.Binding<Value>
    public var wrappedValue: Value {
      get { binding.wrappedValue }
      nonmutating set { binding.wrappedValue = newValue }
    }
    public var projectedValue: Binding { self }
  }

  let box: State<Value>
  public init() where Value == Bool { box = State(wrappedValue: false) }
  public init<T>() where Value == T?, T: Hashable { box = State(wrappedValue: nil) }
  public var wrappedValue: Value {
    get { box.wrappedValue }
    nonmutating set { box.wrappedValue = newValue }
  }
  public var projectedValue: Binding { Binding(binding: box.projectedValue) }
}

@MainActor @preconcurrency @propertyWrapper public struct AccessibilityFocusState<Value: Hashable> {
  public typealias Binding = FocusState<Value>.Binding
  let box: State<Value>
  public init() where Value == Bool { box = State(wrappedValue: false) }
  public init<T>() where Value == T?, T: Hashable { box = State(wrappedValue: nil) }
  public var wrappedValue: Value {
    get { box.wrappedValue }
    nonmutating set { box.wrappedValue = newValue }
  }
  public var projectedValue: Binding { Binding(binding: box.projectedValue) }
}

@MainActor @preconcurrency @propertyWrapper public struct ScaledMetric<Value: BinaryFloatingPoint> {
  public let wrappedValue: Value
  public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
  public init(wrappedValue: Value, relativeTo textStyle: Font.TextStyle) { self.wrappedValue = wrappedValue }
}

@propertyWrapper public struct Namespace {
  public struct ID: Hashable, Sendable {}
  public init() {}
  public var wrappedValue: ID { ID() }
}
