public struct PresentationDetent: Hashable, Sendable {
  let name: String
  public static let medium = PresentationDetent(name: "medium")
  public static let large = PresentationDetent(name: "large")
  public static func fraction(_ fraction: CGFloat) -> PresentationDetent { PresentationDetent(name: "fraction") }
  public static func height(_ height: CGFloat) -> PresentationDetent { PresentationDetent(name: "height") }
}

extension View {
  public func sheet<Content: View>(
    isPresented: Binding<Bool>, onDismiss: (() -> Void)? = nil, @ViewBuilder content: @escaping () -> Content
  ) -> some View { ModifiedContent(self) { isPresented.wrappedValue ? [content()] : [] } }
  public func sheet<Item: Identifiable, Content: View>(
    item: Binding<Item?>, onDismiss: (() -> Void)? = nil, @ViewBuilder content: @escaping (Item) -> Content
  ) -> some View { ModifiedContent(self) { item.wrappedValue.map { [content($0)] } ?? [] } }
  public func fullScreenCover<Content: View>(
    isPresented: Binding<Bool>, onDismiss: (() -> Void)? = nil, @ViewBuilder content: @escaping () -> Content
  ) -> some View { ModifiedContent(self) { isPresented.wrappedValue ? [content()] : [] } }
  public func popover<Content: View>(
    isPresented: Binding<Bool>, arrowEdge: Edge? = nil, @ViewBuilder content: @escaping () -> Content
  ) -> some View { ModifiedContent(self) { isPresented.wrappedValue ? [content()] : [] } }
  public func presentationDetents(_ detents: Set<PresentationDetent>) -> some View { ModifiedContent(self) }
  public func presentationDragIndicator(_ visibility: Visibility) -> some View { ModifiedContent(self) }
  public func interactiveDismissDisabled(_ isDisabled: Bool = true) -> some View { ModifiedContent(self) }

  @_disfavoredOverload public func alert<S: StringProtocol, A: View>(
    _ title: S, isPresented: Binding<Bool>, @ViewBuilder actions: () -> A
  ) -> some View {
    let views: [any View] = [Text(title), actions()]
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }
  @_disfavoredOverload public func alert<S: StringProtocol, A: View, M: View>(
    _ title: S, isPresented: Binding<Bool>, @ViewBuilder actions: () -> A, @ViewBuilder message: () -> M
  ) -> some View {
    let views: [any View] = [Text(title), message(), actions()]
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }
  @_disfavoredOverload public func alert<S: StringProtocol, A: View, T>(
    _ title: S, isPresented: Binding<Bool>, presenting data: T?, @ViewBuilder actions: (T) -> A
  ) -> some View {
    let views: [any View] = data.map { [Text(title), actions($0)] } ?? []
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }
  @_disfavoredOverload public func alert<S: StringProtocol, A: View, M: View, T>(
    _ title: S, isPresented: Binding<Bool>, presenting data: T?, @ViewBuilder actions: (T) -> A,
    @ViewBuilder message: (T) -> M
  ) -> some View {
    let views: [any View] = data.map { [Text(title), message($0), actions($0)] } ?? []
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }

  @_disfavoredOverload public func confirmationDialog<S: StringProtocol, A: View>(
    _ title: S, isPresented: Binding<Bool>, titleVisibility: Visibility = .automatic, @ViewBuilder actions: () -> A
  ) -> some View {
    let views: [any View] = [Text(title), actions()]
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }
  @_disfavoredOverload public func confirmationDialog<S: StringProtocol, A: View, M: View>(
    _ title: S, isPresented: Binding<Bool>, titleVisibility: Visibility = .automatic, @ViewBuilder actions: () -> A,
    @ViewBuilder message: () -> M
  ) -> some View {
    let views: [any View] = [Text(title), message(), actions()]
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }
  @_disfavoredOverload public func confirmationDialog<S: StringProtocol, A: View, T>(
    _ title: S, isPresented: Binding<Bool>, titleVisibility: Visibility = .automatic, presenting data: T?,
    @ViewBuilder actions: (T) -> A
  ) -> some View {
    let views: [any View] = data.map { [Text(title), actions($0)] } ?? []
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }
  @_disfavoredOverload public func confirmationDialog<S: StringProtocol, A: View, M: View, T>(
    _ title: S, isPresented: Binding<Bool>, titleVisibility: Visibility = .automatic, presenting data: T?,
    @ViewBuilder actions: (T) -> A, @ViewBuilder message: (T) -> M
  ) -> some View {
    let views: [any View] = data.map { [Text(title), message($0), actions($0)] } ?? []
    return ModifiedContent(self) { isPresented.wrappedValue ? views : [] }
  }

  public func fileImporter(
    isPresented: Binding<Bool>, allowedContentTypes: [UTType],
    onCompletion: @escaping (_ result: Result<URL, any Error>) -> Void
  ) -> some View { ModifiedContent(self) }
  public func fileImporter(
    isPresented: Binding<Bool>, allowedContentTypes: [UTType], allowsMultipleSelection: Bool,
    onCompletion: @escaping (_ result: Result<[URL], any Error>) -> Void
  ) -> some View { ModifiedContent(self) }
  public func fileImporter(
    isPresented: Binding<Bool>, allowedContentTypes: [UTType], allowsMultipleSelection: Bool,
    onCompletion: @escaping (_ result: Result<[URL], any Error>) -> Void, onCancellation: @escaping () -> Void
  ) -> some View { ModifiedContent(self) }
}
