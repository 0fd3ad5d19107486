extension View {
  public func task(
    priority: TaskPriority = .userInitiated, @_inheritActorContext _ action: @escaping @Sendable () async -> Void
  ) -> some View { ModifiedContent(self) }
  public func task<T: Equatable>(
    id value: T, priority: TaskPriority = .userInitiated,
    @_inheritActorContext _ action: @escaping @Sendable () async -> Void
  ) -> some View { ModifiedContent(self) }
  public func onAppear(perform action: (() -> Void)? = nil) -> some View { ModifiedContent(self) }
  public func onDisappear(perform action: (() -> Void)? = nil) -> some View { ModifiedContent(self) }
  public func onChange<V: Equatable>(
    of value: V, initial: Bool = false, _ action: @escaping (_ oldValue: V, _ newValue: V) -> Void
  ) -> some View { ModifiedContent(self) }
  public func onChange<V: Equatable>(of value: V, initial: Bool = false, _ action: @escaping () -> Void) -> some View {
    ModifiedContent(self)
  }
  public func onOpenURL(perform action: @escaping (URL) -> Void) -> some View { ModifiedContent(self) }
  public func onTapGesture(count: Int = 1, perform action: @escaping () -> Void) -> some View { ModifiedContent(self) }
  public func onKeyPress(
    _ key: KeyEquivalent, action: @escaping () -> KeyPress.Result
  ) -> some View { ModifiedContent(self) }
  public func onKeyPress(
    keys: Set<KeyEquivalent>, phases: KeyPress.Phases = [.down, .repeat],
    action: @escaping (KeyPress) -> KeyPress.Result
  ) -> some View { ModifiedContent(self) }
  public func dropDestination<T: Transferable>(
    for payloadType: T.Type = T.self, action: @escaping (_ items: [T], _ location: CGPoint) -> Bool,
    isTargeted: @escaping (Bool) -> Void = { _ in }
  ) -> some View { ModifiedContent(self) }
  public func sensoryFeedback<T: Equatable>(_ feedback: SensoryFeedback, trigger: T) -> some View {
    ModifiedContent(self)
  }
  public func id<ID: Hashable>(_ id: ID) -> some View { ModifiedContent(self) }
  public func animation<V: Equatable>(_ animation: Animation?, value: V) -> some View { ModifiedContent(self) }
  public func transition(_ t: AnyTransition) -> some View { ModifiedContent(self) }
}

public struct KeyPress: Sendable {
  public let key: KeyEquivalent
  public let modifiers: EventModifiers
  public enum Result: Sendable { case handled, ignored }
  public struct Phases: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let down = Phases(rawValue: 1)
    public static let `repeat` = Phases(rawValue: 2)
    public static let up = Phases(rawValue: 4)
  }
}

public struct SensoryFeedback: Equatable, Sendable {
  public static let success = SensoryFeedback()
  public static let warning = SensoryFeedback()
  public static let error = SensoryFeedback()
  public static let selection = SensoryFeedback()
}

public struct Animation: Hashable, Sendable {
  public static let `default` = Animation()
  public static let easeOut = Animation()
  public static let easeInOut = Animation()
  public static let linear = Animation()
}
public struct AnyTransition: Sendable {
  public static let opacity = AnyTransition()
  public static let slide = AnyTransition()
}
public func withAnimation<Result>(_ animation: Animation? = .default, _ body: () throws -> Result) rethrows -> Result {
  try body()
}
