import Foundation
import Observation

/// Ask, rewrite or summarize a text that was typed or pasted, shared by another app, or given by a shortcut.
@MainActor
@Observable
public final class TaskModel {
  /// An answer, kept apart from the host's state: another request takes its place there. `about`: how it ended, and
  /// statistics.
  public struct Result: Equatable, Sendable {
    public var text: String
    public var about: String
    var isWhole = false
  }

  // Bytes that are laid out; megabytes would stop the screen.
  private static let mostShown = 10_000

  /// Whether the screen is shown. Setting it to false stops the answer, of which nobody would see the rest.
  public var isPresented = false {
    didSet { if oldValue, !isPresented { closed() } }
  }

  public var question = ""
  public let gate: ModelGate

  /// What other apps shared and was not worked on yet.
  public private(set) var shared: [ShareInbox.Item] = []
  public private(set) var result: Result?
  public private(set) var problem: String?
  public private(set) var isReading = false

  /// The whole text. The screen shows `shownText`.
  public private(set) var source = ""

  // What waits for the list of models, for the files' check or the license.
  private var wanted: TextTask?
  private var running: ModelHost.Request?
  private var opened: ShareInbox.Item?
  private var access: (any FileAccess)?  // to the file that is read

  @ObservationIgnored private let services: TaskServices
  @ObservationIgnored private let inbox: ShareInbox?
  @ObservationIgnored private let status: WorkStatus
  @ObservationIgnored private var followers: [AnyObject] = []
  @ObservationIgnored private var caller: CheckedContinuation<String, any Error>?

  public init(_ services: TaskServices, inbox: ShareInbox?) {
    self.services = services
    self.inbox = inbox
    gate = ModelGate(services.bundles)
    status = services.status()
    followers = [
      services.host.listen { [weak self] in self?.follow($0) },
      gate.follow { [weak self] in self?.advance() },
    ]
  }

  // MARK: Text

  /// A long text is shown in part and cannot be edited.
  public var isEditable: Bool { source.utf8.count <= Self.mostShown && !isBusy && !isReading }

  public var shownText: String {
    get {
      source.utf8.count <= Self.mostShown
        ? source : String(String.UnicodeScalarView(source.unicodeScalars.prefix(Self.mostShown))) + "…"
    }
    set {
      guard isEditable, !newValue.utf8.elementsEqual(source.utf8) else { return }
      source = newValue
      opened = nil
    }
  }

  /// Opens the screen on `text`, or as it was left.
  public func open(_ text: String? = nil) {
    isPresented = true
    if let text, !isBusy { replace(text, from: nil) }
  }

  /// Opens the clipboard's text; nil where there is none, or where the system was told not to give it. What is on the
  /// screen stays then.
  public func paste(_ text: String?) {
    guard !isBusy, !isReading else { return }
    guard let text, !text.isBlank else {
      problem = MlpCore.text("task.nothingToPaste")
      return
    }
    open(text)
  }

  public func openFile(_ url: URL, access: any FileAccess) async {
    guard !isBusy, !isReading else { return }
    isPresented = true
    isReading = true
    self.access = access
    let file = await run(on: DispatchQueue.global(qos: .userInitiated)) {
      TextFileReader(access: access).read(url, context: .max)
    }
    isReading = false
    if self.access == nil { return }  // stopped
    self.access = nil
    switch file {
    case .success(let file): replace(file.text, from: nil)
    case .failure(let refusal): problem = refusal.sentence
    }
  }

  /// The picker ended with an error.
  public func fail(_ error: any Error) { problem = sentence(error) }

  /// Looks what the share extension left, and opens the newest that was not seen yet.
  public func receive() async {
    await refreshShared()
    if let new = shared.first, !new.isSeen, !isBusy { await open(new) }
  }

  public func open(_ item: ShareInbox.Item) async {
    guard let inbox, !isBusy, !isReading else { return }
    isPresented = true
    isReading = true
    let text = await run(on: DispatchQueue.global(qos: .userInitiated)) {
      inbox.markSeen(item)
      return inbox.text(item)
    }
    isReading = false
    await refreshShared()
    if let text { replace(text, from: item) }
  }

  public func remove(_ item: ShareInbox.Item) async {
    inbox?.remove(item)
    await refreshShared()
  }

  public func name(_ item: ShareInbox.Item) -> String { item.name ?? text("share.text") }

  private func replace(_ text: String, from item: ShareInbox.Item?) {
    source = text
    opened = item
    question = ""
    result = nil
    problem = text.isBlank ? MlpCore.text("task.noText") : nil
  }

  private func refreshShared() async {
    guard let inbox else { return }
    shared = await run(on: DispatchQueue.global(qos: .userInitiated)) { inbox.items() }
  }

  // MARK: Tasks

  public var isBusy: Bool { wanted != nil || running != nil }

  /// A provider may take its time to download a file.
  public var canStop: Bool { isBusy || access != nil }

  public var canStart: Bool { !isBusy && !isReading && !source.isBlank }

  public var canAsk: Bool { canStart && !question.isBlank }

  public func start(_ task: TextTask) {
    guard task == .ask ? canAsk : canStart else { return }
    wanted = task
    problem = nil
    advance()
    Task { await gate.list() }
  }

  /// The license's screen was closed.
  public func closeLicense() {
    guard gate.license != nil else { return }
    if !gate.closeLicense() { wanted = nil }
    advance()
  }

  public func stop() {
    access?.cancel()
    access = nil
    wanted = nil
    if running != nil { services.host.stop() }
    settle()
  }

  /// What happens now.
  public var work: WorkStatus.Line? {
    if let running { return status.describe(services.host.state, of: running) }
    return wanted == nil ? nil : gate.check
  }

  /// The answer as far as it is there.
  public var answer: String {
    running.map { services.host.state.text(of: $0) ?? "" } ?? result?.text ?? ""
  }

  /// Does `task` on the screen, for a shortcut, and returns the answer. Throws `Refusal`.
  public func answer(_ task: TextTask, text: String, question: String = "") async throws -> String {
    await gate.list()
    if isBusy || isReading { throw Refusal(MlpCore.text("task.busy")) }
    if task == .ask, question.isBlank { throw Refusal(MlpCore.text("task.noQuestion")) }
    open(text)
    self.question = question
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        caller = continuation
        start(task)
        settle()
      }
    } onCancel: {
      Task { @MainActor in self.stop() }
    }
  }

  /// Submits what is wanted as soon as nothing stands in its way.
  private func advance() {
    guard let task = wanted else { return settle() }
    if let bundle = gate.bundle, source.utf8.count > TextDocument.mostBytes(context: bundle.manifest.context) {
      // Known before its tokens are counted, which takes memory.
      let most = TextDocument.mostBytes(context: bundle.manifest.context)
      return refuse(text("task.tooBig", formattedSize(Int64(most))))
    }
    switch gate.admit() {
    case .wait: break
    case .refused(let sentence): refuse(sentence)
    case .admitted(let bundle): submit(task, bundle)
    }
  }

  private func submit(_ task: TextTask, _ bundle: ModelBundle) {
    let request = ModelHost.Request(
      bundle: bundle, turns: task.turns(source, question: question), settings: services.settings(bundle),
      tag: "task/\(UUID().uuidString)")
    guard services.host.submit(request) else { return refuse(text("task.busy")) }
    wanted = nil
    running = request
    result = nil
    gate.used(bundle)
  }

  private func refuse(_ sentence: String) {
    wanted = nil
    problem = sentence
    settle()
  }

  private func follow(_ state: ModelHost.State) {
    guard let running else { return }
    switch state.progress(of: running) {
    case .running: return
    case .done(let answer): finish(answer)
    case .failed(let failure, let words):
      if !words.isEmpty { result = Result(text: words, about: text("end.failed")) }
      problem = sentence(failure)
    }
    self.running = nil
    settle()
  }

  private func finish(_ answer: Answer) {
    let words = answer.text.trimmed(\.isPythonSpace)
    // A person or the system ended it: what was shared is to be worked on once more, and a shortcut gets no half text.
    let isWhole = answer.end != .stopped && answer.end != .interrupted
    result = Result(text: words, about: AnswerTexts.about(answer.end, text: words, answer.statistics), isWhole: isWhole)
    if words.isEmpty {
      if answer.end != .stopped { problem = text(isWhole ? "task.noAnswer" : "end.interruptedEmpty") }
    } else if isWhole, let opened, let inbox {
      inbox.remove(opened)
      shared.removeAll { $0.id == opened.id }
      self.opened = nil
    }
  }

  /// Gives a shortcut its answer, or why there is none.
  private func settle() {
    guard !isBusy, let caller else { return }
    self.caller = nil
    if let problem {
      caller.resume(throwing: Refusal(problem))
    } else if let result, result.isWhole {
      caller.resume(returning: result.text)
    } else {
      caller.resume(throwing: Refusal(text("task.stopped")))
    }
  }

  private func closed() {
    wanted = nil
    _ = gate.closeLicense()
    if running != nil { services.host.stop() }
    settle()
  }
}
