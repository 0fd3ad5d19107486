import Foundation
import Observation

/// One conversation with one bundle. All that lasts is in the store and in `ModelHost`; this shows it.
@MainActor
@Observable
public final class ChatModel {
  static let page = 40  // messages
  private static let leastAnswer = 8  // tokens: less is no answer
  private static let doubleTap = 0.3  // seconds

  public let bundleName: String
  public private(set) var conversation: Conversation?

  /// What is being written.
  public var draft = "" {
    didSet {
      if draft.utf8.elementsEqual(oldValue.utf8) { return }
      if editing == nil { app.drafts[bundleName, id] = draft }
      countSoon()
    }
  }

  /// Said in passing: shown for a moment, and read by VoiceOver.
  public var notice: String?
  /// The figures of the answer whose statistics were asked for.
  public var statistics: String?

  public var showsStatistics: Bool {
    get { statistics != nil }
    set { if !newValue { statistics = nil } }
  }

  /// Shows the list of bundles at this one.
  @ObservationIgnored public var showModel: () -> Void = {}
  /// A first message was sent: the conversation has an id and a title.
  @ObservationIgnored public var changed: () -> Void = {}

  private let app: AppModel
  private let countDelay: Duration
  private let clock: @MainActor () -> Double
  private var editing: String?  // the user's message that is being written anew
  private var shownFrom = 0
  private var used: TokenCount?  // of the context, the draft included; nil: not counted yet
  private var dismissed = false  // the failure that the host shows was read
  private var storageProblem: StorageError?
  @ObservationIgnored private var waiting: ((ModelBundle) throws -> Bool)?  // asked before the disk was looked at
  @ObservationIgnored private var sentAt = -Double.infinity
  @ObservationIgnored private var counting: Task<Void, Never>?
  @ObservationIgnored private var listener: ModelHost.Listener?

  /// A new conversation with the bundle in the folder of that name, or the stored one of the id `conversation`.
  public init(
    _ app: AppModel, bundle: String, conversation: String? = nil, countDelay: Duration = .milliseconds(250),
    clock: @escaping @MainActor () -> Double = { ProcessInfo.processInfo.systemUptime }
  ) {
    self.app = app
    self.countDelay = countDelay
    self.clock = clock
    bundleName = bundle
    self.conversation = conversation.flatMap(app.conversations.read)
    draft = app.drafts[bundleName, id]
    shownFrom = max(0, messages.count - Self.page)
    listener = app.host.listen { [weak self] in self?.heard($0) }
  }

  /// The screen came into view: the bundle or the conversation may have changed since.
  public func appear() async {
    reload()
    if app.bundles.library.items == nil { await app.bundles.library.refresh() }
    countSoon()
    guard let ask = waiting else { return }
    waiting = nil
    asking(ask)
  }

  // What is shown

  public var title: String { conversationTitle(conversation) }

  public var id: String? { conversation?.id }

  public var isEmpty: Bool { messages.isEmpty }

  public var suggestions: [String] { ["chat.suggestion1", "chat.suggestion2", "chat.suggestion3"].map { text($0) } }

  public var rows: [ChatRow] {
    chatRows(
      messages,
      ChatMoment(
        from: shownFrom, window: conversation.map(app.chats.windowStart) ?? 0, hasBundle: bundle != nil,
        isBusy: app.host.isBusy, isAnswering: isAnswering, liveText: liveText, isFull: isFull))
  }

  /// The model works on this conversation.
  public var isAnswering: Bool { app.host.isBusy && isMine }

  public var canWrite: Bool { isLooking || bundle != nil }

  public var prompt: String { text(canWrite ? "chat.message" : "chat.noModel") }

  /// The button that sends stops while the model answers.
  public var sendLabel: String { text(isAnswering ? "chat.stop" : "chat.send") }

  public var canPressSend: Bool { isAnswering || (canWrite && !draft.isBlank) }

  public var canExport: Bool { !isEmpty }

  public var export: String { conversation.map(exportText) ?? "" }

  /// What the model does, until the answer itself grows; `fraction` is nil where nobody knows how long it takes.
  public var work: (text: String, fraction: Double?)? {
    guard isMine else { return nil }
    switch app.host.state {
    case .loading(let request): return (app.bundles.loadingText(request.bundle), nil)
    case .working(_, let prefilled, let total, let answer) where answer.isEmpty:
      if total == 0 { return (text("chat.answering"), nil) }
      return (text("chat.thinking"), Double(prefilled) / Double(total))
    default: return nil
    }
  }

  /// How much of the context is left.
  public var contextLine: String? {
    guard let context = bundle?.manifest.context else { return nil }
    guard let used else { return text("chat.contextSize", formatted(context)) }
    let left = formatted(max(0, context - used.tokens))
    return text(used.isExact ? "chat.contextLeft" : "chat.contextLeftAbout", left, formatted(context))
  }

  public var isContextLow: Bool {
    guard let context = bundle?.manifest.context, let used else { return false }
    return context - used.tokens < context / 10
  }

  /// The gravest of what there is to say.
  public var banner: ChatBanner? {
    if !canWrite { return ChatBanner(text: text("chat.missing", bundleName), isError: true) }
    if let problem = storageProblem ?? (isMine ? app.chats.storageProblem : nil) {
      return ChatBanner(text: sentence(problem), isError: true, actions: [.close])
    }
    if let obstacle, !isAnswering { return ChatBanner(text: obstacle, isError: true, actions: [.showModel]) }
    if editing != nil { return ChatBanner(text: text("chat.editing"), actions: [.stopEditing]) }
    if isAnswering { return nil }
    if isFull { return fullBanner }
    if let failure {
      // A prompt that was refused would be refused again.
      let way: ChatBanner.Action = failure is PromptError ? .editLast : .answerAgain
      return ChatBanner(text: sentence(failure), isError: true, actions: [.close, way])
    }
    if isMine, !dismissed, app.host.stopCause == .memory {
      return ChatBanner(text: text("chat.stoppedForMemory"), isError: true, actions: [.close, .answerAgain])
    }
    if messages.last?.role == .user, !app.host.isBusy {
      return ChatBanner(text: text("chat.unanswered"), actions: [.answerNow])
    }
    return nil
  }

  private var fullBanner: ChatBanner {
    let context = formatted(bundle?.manifest.context ?? 0)
    var actions: [ChatBanner.Action] = [.newConversation]
    if canDrop { actions.insert(.dropOldest, at: 0) } else if failure != nil { actions.insert(.editLast, at: 0) }
    return ChatBanner(text: failure.map { sentence($0) } ?? text("chat.full", context), actions: actions)
  }

  // What the user does

  public func pressSend() {
    if isAnswering { stop() } else { send() }
  }

  public func send() {
    let text = draft.trimmed(\.isPythonSpace)
    if text.isEmpty { return }
    asking { [weak self] bundle in
      guard let self else { return true }
      if let message = editing, let id {
        if try !app.chats.resend(id, bundle, message: message, text) { return false }
        stopEditing()
      } else {
        guard let sent = try app.chats.send(id, bundle, text) else { return false }
        draft = ""
        conversation = app.conversations.read(sent)
      }
      app.bundles.choice.used(bundleName)
      sentAt = clock()
      return true
    }
  }

  /// The button that sends turns into this one: the second tap of a double tap is not meant for it.
  public func stop() {
    if isAnswering, clock() - sentAt > Self.doubleTap { app.host.stop() }
  }

  public func perform(_ action: ChatBanner.Action) {
    switch action {
    case .showModel: showModel()
    case .stopEditing: stopEditing()
    case .dropOldest: Task { await dropOldest() }
    case .newConversation: startNew()
    case .editLast: if let message = messages.last(where: { $0.role == .user }) { edit(message.id) }
    case .answerAgain, .answerNow: answerAgain()
    case .close:
      dismissed = true
      storageProblem = nil
    }
  }

  public func edit(_ message: String) {
    guard let message = messages.first(where: { $0.id == message }) else { return }
    editing = message.id
    draft = message.text
  }

  public func answerAgain() {
    guard let id else { return }
    // Greedy decoding would give a whole answer once more, word for word.
    let isSame = messages.last?.end == .complete && app.settings[bundleName].temperature == 0
    asking { [app] in try app.chats.answerAgain(id, $0, temperature: isSame ? 0.7 : nil) }
  }

  public func goOn() {
    guard let id else { return }
    asking { [app] in try app.chats.send(id, $0, text("chat.goOnMessage")) != nil }
  }

  /// The text of a message, for the clipboard.
  public func copy(_ message: String) -> String {
    notice = text("chat.copied")
    return rows.first { $0.id == message }?.text ?? ""
  }

  public func showStatistics(_ message: String) {
    statistics = messages.first { $0.id == message }?.statistics.map(AnswerTexts.details)
  }

  public func showEarlier() { shownFrom = max(0, shownFrom - Self.page) }

  public func startNew() {
    stopEditing()
    let text = draft
    draft = ""  // it goes along
    conversation = nil
    draft = text.isEmpty ? app.drafts[bundleName, nil] : text
    used = nil
    shownFrom = 0
    countSoon()
    changed()
  }

  /// Lets the model forget the oldest messages, so that half of the context is free again.
  func dropOldest() async {
    guard let bundle, let conversation else { return }
    guard let first = await app.counter.cut(bundle, system: conversation.systemPrompt, conversation.messages) else {
      notice = text("chat.nothingToDrop")
      return
    }
    app.windows[conversation.id] = first.id
    dismissed = true
    reload()
    // A question that did not fit is answered now; an answer that was cut off can go on.
    if messages.last.map({ $0.text.isBlank }) ?? true { answerAgain() } else { countSoon() }
  }

  private func stopEditing() {
    if editing == nil { return }
    editing = nil
    draft = app.drafts[bundleName, id]  // what was written before
  }

  /// Runs `ask` with the bundle, and says so where the model is busy or the disk full. Not with a bundle against which
  /// something stands; that is known as soon as the disk was looked at.
  private func asking(_ ask: @escaping (ModelBundle) throws -> Bool) {
    if isLooking {
      waiting = ask
      return
    }
    guard let bundle, obstacle == nil else { return }
    do {
      dismissed = false
      if try !ask(bundle) { notice = text("chat.busy") }
    } catch {
      storageProblem = error as? StorageError ?? StorageError(error)
    }
    reload()
    countSoon()
    changed()
  }

  // What follows from it

  private var messages: [ChatMessage] { conversation?.messages ?? [] }

  private var isLooking: Bool { app.bundles.library.items == nil }

  private var item: BundleLibrary.Item? { app.bundles.library.item(bundleName) }

  private var bundle: ModelBundle? { item?.entry.bundle }

  private var obstacle: String? { item.flatMap(app.bundles.obstacle) }

  private var isMine: Bool { id.map { app.host.request?.tag == Chats.tag($0) } ?? false }

  private var failure: (any Error)? {
    if case .failed(_, let problem, _) = app.host.state, isMine, !dismissed { problem } else { nil }
  }

  private var liveText: String? {
    guard isMine else { return nil }
    return switch app.host.state {
    case .working(_, _, _, let text), .failed(_, _, let text): text
    case .done(_, let answer): answer.text
    case .idle, .loading: nil
    }
  }

  /// There is no room for another answer.
  private var isFull: Bool {
    guard let context = bundle?.manifest.context else { return false }
    if (failure as? PromptError)?.problem == .tooLong { return true }
    guard let used else { return messages.last?.end == .contextFull }
    return !messages.isEmpty && used.tokens >= context - Self.leastAnswer
  }

  /// Something can be dropped: the last question is always kept.
  private var canDrop: Bool {
    guard let conversation else { return false }
    return conversation.messages[app.chats.windowStart(conversation)...].filter { $0.role == .user }.count > 1
  }

  private func heard(_ state: ModelHost.State) {
    guard isMine else { return }
    switch state {
    case .done(_, let answer):
      ended()
      notice = AnswerTexts.end(answer.end, text: answer.text) ?? text("chat.done")
    case .failed: ended()
    default: break
    }
  }

  private func ended() {
    dismissed = false
    reload()
    countSoon()
    changed()
  }

  private func reload() {
    guard let id else { return }
    conversation = app.conversations.read(id)  // nil: deleted elsewhere
  }

  private func countSoon() {
    counting?.cancel()
    counting = Task { [weak self, countDelay] in
      try? await Task.sleep(for: countDelay)
      if !Task.isCancelled { await self?.count() }
    }
  }

  private func count() async {
    guard let bundle else { return }
    let draft = draft.trimmed(\.isPythonSpace)
    let turns = (conversation.map(app.chats.turns) ?? []) + (draft.isEmpty ? [] : [Turn(.user, draft)])
    if turns.isEmpty {
      used = nil
      return
    }
    let system = conversation.map(\.systemPrompt) ?? app.settings[bundleName].systemPrompt
    let tokens = await app.counter.count(bundle, system: system, turns)
    if let tokens, !Task.isCancelled { used = tokens }
  }
}
