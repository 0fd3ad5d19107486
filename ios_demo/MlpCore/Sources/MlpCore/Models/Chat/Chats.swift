import Foundation

/// Asks the model for the answers of conversations, and stores what comes whether or not a screen shows it. Throws
/// `StorageError` where the disk is full.
@MainActor
public final class Chats {
  private let store: ConversationStore
  private let host: ModelHost
  private let settings: BundleSettings
  private let windows: ContextWindows
  private let recorder: ChatRecorder

  /// `clock` gives seconds.
  public init(
    store: ConversationStore, host: ModelHost, settings: BundleSettings, windows: ContextWindows,
    clock: @escaping @Sendable () -> Double = { ProcessInfo.processInfo.systemUptime }
  ) {
    self.store = store
    self.host = host
    self.settings = settings
    self.windows = windows
    recorder = ChatRecorder(store: store, clock: clock)
    host.recorder = recorder
  }

  nonisolated static func tag(_ conversation: String) -> String { "chat/\(conversation)" }

  /// Why the newest text could not be stored; nil where it was.
  var storageProblem: StorageError? { recorder.problem }

  /// Stores `text` as the user's, in a new conversation if `conversation` is nil, and asks for an answer. The
  /// conversation's id; nil while the model takes no request: then nothing is stored.
  func send(_ conversation: String?, _ bundle: ModelBundle, _ text: String) throws -> String? {
    if !host.isFree { return nil }
    let system = settings[bundle.name].systemPrompt
    return try answer(bundle) {
      let id = try conversation ?? store.create(bundle: bundle.name, systemPrompt: system).id
      try store.addUser(id, text)
      return (id, try store.startAnswer(id).id)
    }
  }

  /// `text` in place of the user's `message`; what followed it is dropped.
  func resend(_ conversation: String, _ bundle: ModelBundle, message: String, _ text: String) throws -> Bool {
    if !host.isFree { return false }
    return try answer(bundle) {
      try store.addUser(conversation, text, replaces: message)
      return (conversation, try store.startAnswer(conversation).id)
    } != nil
  }

  /// Another answer to the last message of the user; `temperature` in place of the settings', if given.
  func answerAgain(_ conversation: String, _ bundle: ModelBundle, temperature: Double? = nil) throws -> Bool {
    if !host.isFree { return false }
    let messages = store.read(conversation)?.messages ?? []
    guard let question = messages.lastIndex(where: { $0.role == .user }) else { return false }
    let old = question + 1 < messages.count ? messages[question + 1].id : nil
    return try answer(bundle, temperature) {
      (conversation, try store.startAnswer(conversation, replaces: old).id)
    } != nil
  }

  /// What the model is given: without empty answers, and without what is before the window.
  func turns(_ conversation: Conversation) -> [Turn] {
    MlpCore.turns(conversation.messages[windowStart(conversation)...])
  }

  /// Index of the first message that the model is given.
  func windowStart(_ conversation: Conversation) -> Int {
    windows[conversation.id].flatMap { first in conversation.messages.firstIndex { $0.id == first } } ?? 0
  }

  func delete(_ conversation: String) throws {
    if recorder.forget(conversation) { host.stop() }
    try store.delete(conversation)
    windows[conversation] = nil
  }

  /// Stores what `change` does at once, and asks for the answer that it started.
  private func answer(
    _ bundle: ModelBundle, _ temperature: Double? = nil, _ change: () throws -> (conversation: String, message: String)
  ) throws -> String? {
    let started = try store.atOnce(change)
    guard let all = store.read(started.conversation) else {
      throw StorageError(isFull: false, detail: "the conversation is gone")
    }
    recorder.begin(started.conversation, started.message)
    var used = settings[bundle.name]
    used.systemPrompt = all.systemPrompt
    if let temperature { used.temperature = temperature }
    let tag = Self.tag(started.conversation)
    let request = ModelHost.Request(bundle: bundle, turns: turns(all), settings: used, tag: tag)
    return host.submit(request) ? started.conversation : nil
  }
}

/// Writes the answer that the model works on into its conversation, at least once a second.
private final class ChatRecorder: AnswerRecorder, @unchecked Sendable {
  private struct Pending {
    var conversation: String
    var message: String
    var written: Double
  }

  private let store: ConversationStore
  private let clock: @Sendable () -> Double
  private let lock = NSLock()
  // Under the lock.
  private var pending: Pending?
  private var lastProblem: StorageError?

  init(store: ConversationStore, clock: @escaping @Sendable () -> Double) {
    self.store = store
    self.clock = clock
  }

  var problem: StorageError? { lock.withLock { lastProblem } }

  func begin(_ conversation: String, _ message: String) {
    lock.withLock {
      lastProblem = nil
      pending = Pending(conversation: conversation, message: message, written: clock())
    }
  }

  /// Whether the answer that is being written was of `conversation`.
  func forget(_ conversation: String) -> Bool {
    lock.withLock {
      guard pending?.conversation == conversation else { return false }
      pending = nil
      return true
    }
  }

  func wrote(_ request: ModelHost.Request, text: String) {
    let now = clock()
    let due = lock.withLock { () -> Pending? in
      guard let pending, isOf(request, pending), now - pending.written >= 1 else { return nil }
      self.pending?.written = now
      return pending
    }
    guard let due else { return }
    storing { try store.updateAnswer(due.conversation, message: due.message, text: text) }
  }

  func ended(_ request: ModelHost.Request, with end: ModelHost.State) {
    let ended = lock.withLock { () -> Pending? in
      guard let pending, isOf(request, pending) else { return nil }
      self.pending = nil
      return pending
    }
    guard let (id, message) = ended.map({ ($0.conversation, $0.message) }) else { return }
    storing {
      switch end {
      case .done(_, let answer): try store.endAnswer(id, message: message, answer: answer)
      case .failed(_, _, let text):
        try store.updateAnswer(id, message: message, text: text)
        try store.endAnswer(id, message: message, end: .failed)
      default: break
      }
    }
  }

  private func isOf(_ request: ModelHost.Request, _ pending: Pending) -> Bool {
    Chats.tag(pending.conversation) == request.tag
  }

  /// A full disk is not to end the answer, which is on the screen.
  private func storing(_ write: () throws -> Void) {
    do {
      try write()
    } catch {
      let problem = error as? StorageError ?? StorageError(error)
      lock.withLock { lastProblem = problem }
    }
  }
}
