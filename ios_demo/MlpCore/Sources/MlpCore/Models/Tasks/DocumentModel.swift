import Foundation
import Observation

/// A text file as long as the context allows: its tokens, the time that reading takes, a summary, and questions. The
/// document is read once; each further question adds only itself to the KV cache.
@MainActor
@Observable
public final class DocumentModel {
  struct Document: Equatable {
    var file: TextFile
    var tokens: TokenCount
    var bundle: ModelBundle
  }

  private struct Wish: Equatable {
    var question: String
    var task: TextTask
  }

  /// Whether the screen is shown. Setting it to false stops the answer, of which nobody would see the rest.
  public var isPresented = false {
    didSet { if oldValue, !isPresented { stopAnswer() } }
  }

  public var question = ""
  public let gate: ModelGate

  public private(set) var talk = DocumentTalk()
  public private(set) var problem: String?

  private var document: Document?
  private var opening: String?  // name of the file
  private var access: (any FileAccess)?  // to the file that is read
  private var wish: Wish?
  private var running: ModelHost.Request?

  @ObservationIgnored private let services: TaskServices
  @ObservationIgnored private let store: DocumentStore
  @ObservationIgnored private let status: WorkStatus
  @ObservationIgnored private let disk = DispatchQueue(label: "document", qos: .userInitiated)
  @ObservationIgnored private var followers: [AnyObject] = []
  @ObservationIgnored private var restoring: Task<Void, Never>?

  /// `folder` keeps the open document.
  public init(_ services: TaskServices, folder: URL) {
    self.services = services
    store = DocumentStore(folder: folder)
    gate = ModelGate(services.bundles)
    status = services.status()
    followers = [
      services.host.listen { [weak self] in self?.follow($0) },
      gate.follow { [weak self] in self?.advance() },
    ]
  }

  // MARK: The document

  /// The screen appears: what was open when the system ended the app is opened again.
  public func appear() async {
    let restoring = restoring ?? Task { await restore() }
    self.restoring = restoring
    await restoring.value
  }

  private func restore() async {
    await gate.list()
    if document != nil || opening != nil { return }
    let store = store
    guard let (text, kept) = await run(on: disk, { store.read() }), document == nil, opening == nil else { return }
    gate.choose(kept.bundle)
    await open(TextFile(name: kept.name, text: text), talk: kept.talk)
  }

  /// The system's picker or another app gave the file at `url`.
  public func open(_ url: URL, access: any FileAccess) async {
    isPresented = true
    guard !isBusy else {
      problem = text("task.busy")
      return
    }
    opening = url.lastPathComponent
    problem = nil
    self.access = access
    await gate.list()
    guard let bundle = gate.bundle else { return refuse(text("task.noModel")) }
    let context = bundle.manifest.context
    let file = await run(on: disk) { TextFileReader(access: access).read(url, context: context) }
    if self.access == nil {  // stopped
      opening = nil
      return
    }
    self.access = nil
    switch file {
    case .failure(let refusal): refuse(refusal.sentence)
    case .success(let file): await open(file, talk: nil)
    }
  }

  /// The picker ended with an error.
  public func fail(_ error: any Error) { problem = sentence(error) }

  /// Another model is to read it: its tokens are others.
  public func choose(_ bundle: String) async {
    guard !isBusy else { return }
    gate.choose(bundle)
    if document?.bundle.name == bundle { return }
    if let file = document?.file { await open(file, talk: nil) }
  }

  /// Counts the tokens of `file`, and goes on from `saved`.
  private func open(_ file: TextFile, talk saved: DocumentTalk.Saved?) async {
    opening = file.name
    problem = nil
    document = nil
    talk = DocumentTalk()
    guard let bundle = gate.bundle else { return refuse(text("task.noModel")) }
    let (tokenizers, store) = (services.tokenizers, store)
    let counted = await run(on: disk) { () -> Result<Document, Refusal> in
      let document = count(file, bundle, tokenizers(bundle))
      if case .success = document, saved == nil {
        store.save(file.text, DocumentStore.Kept(name: file.name, bundle: bundle.name, talk: nil))
      }
      return document
    }
    switch counted {
    case .failure(let refusal): refuse(refusal.sentence)
    case .success(let document):
      self.document = document
      if let saved { talk = DocumentTalk(saved, document: file.text) }
      opening = nil
    }
  }

  private func refuse(_ sentence: String) {
    opening = nil
    access = nil
    wish = nil
    problem = sentence
  }

  // MARK: What the screen shows

  public var name: String { document?.file.name ?? text("document.none") }

  public var isOpen: Bool { document != nil }

  public var isBusy: Bool { opening != nil || wish != nil || running != nil }

  /// A provider may take its time to download a file.
  public var canStop: Bool { wish != nil || running != nil || access != nil }

  public var canOpen: Bool { !isBusy && gate.item != nil }

  public var canSummarize: Bool { document != nil && talk.messages.isEmpty && !isBusy }

  public var canAsk: Bool { document != nil && !isBusy && !question.isBlank }

  /// Tokens, and how long reading takes.
  public var about: String {
    if let opening { return text("document.reading", opening) }
    guard let document else {
      return gate.bundle.map { text("document.noneAbout", formatted($0.manifest.context)) } ?? ""
    }
    let (count, context) = (document.tokens, document.bundle.manifest.context)
    let tokens = text(
      count.isExact ? "document.tokens" : "document.tokensAbout", formatted(count.tokens), formatted(context))
    if !talk.turns.isEmpty { return tokens }
    guard let speed = services.speeds[document.bundle.name] else {
      return tokens + " " + text("document.timeUnknown")
    }
    let time = formattedDuration(Int(Double(count.tokens) / speed) + 1)
    return tokens + " " + text("document.time", time, formatted(speed, digits: 0))
  }

  /// What happens now.
  public var work: WorkStatus.Line? {
    if let running { return status.describe(services.host.state, of: running) }
    return wish == nil ? nil : gate.check
  }

  /// The answer that is being written.
  public var live: String {
    running.flatMap { services.host.state.text(of: $0) } ?? ""
  }

  /// How an answer ended, and statistics; nil where there is nothing to say.
  public func about(_ message: ChatMessage) -> String? {
    let about = AnswerTexts.about(message.end, text: message.text, message.statistics)
    return about.isEmpty ? nil : about
  }

  // MARK: Questions

  public func summarize() {
    if canSummarize { ask(text("task.summarize"), .summarize) }
  }

  public func ask() {
    if canAsk { ask(question.trimmed(\.isPythonSpace), .ask) }
  }

  /// Really stops: the prompt is fed in slices.
  public func stop() {
    access?.cancel()
    access = nil
    stopAnswer()
  }

  private func stopAnswer() {
    wish = nil
    if running != nil { services.host.stop() }
    if opening == nil { _ = gate.closeLicense() }
  }

  /// The license's screen was closed.
  public func closeLicense() {
    guard gate.license != nil else { return }
    if !gate.closeLicense() { wish = nil }
    advance()
  }

  private func ask(_ question: String, _ task: TextTask) {
    wish = Wish(question: question, task: task)
    problem = nil
    advance()
    Task { await gate.list() }
  }

  /// Submits what is wished as soon as nothing stands in its way.
  private func advance() {
    guard let wish, let document else { return }
    switch gate.admit(document.bundle) {
    case .wait: break
    case .refused(let sentence): refuse(sentence)
    case .admitted(let bundle): submit(wish, document, bundle)
    }
  }

  private func submit(_ wish: Wish, _ document: Document, _ bundle: ModelBundle) {
    var talk = talk
    let request = ModelHost.Request(
      bundle: bundle, turns: talk.ask(document.file.text, wish.question, wish.task),
      settings: services.settings(bundle), tag: "document/\(UUID().uuidString)")
    guard services.host.submit(request) else { return refuse(text("task.busy")) }
    talk.asked(wish.question)
    self.talk = talk
    self.wish = nil
    running = request
    if wish.task == .ask { question = "" }
    gate.used(bundle)
  }

  private func follow(_ state: ModelHost.State) {
    guard let running else { return }
    switch state.progress(of: running) {
    case .running: return
    case .done(let answer):
      talk.answered(running.turns, answer)
      save()
    case .failed(let failure, _):
      takeBack()
      problem = sentence(failure)
    }
    self.running = nil
  }

  /// The question goes back to where it can be changed.
  private func takeBack() {
    let asked = talk.takeBack()
    if question.isEmpty, !asked.utf8.elementsEqual(text("task.summarize").utf8) { question = asked }
  }

  private func save() {
    guard let document else { return }
    let kept = DocumentStore.Kept(name: document.file.name, bundle: document.bundle.name, talk: talk.saved)
    disk.async { [store] in store.save(kept) }
  }
}

/// The tokens of `file`, where they fit the context of `bundle`; blocks.
private func count(
  _ file: TextFile, _ bundle: ModelBundle, _ tokenizer: any Tokenizer
) -> Result<DocumentModel.Document, Refusal> {
  if let special = tokenizer.special(in: file.text) {
    return .failure(Refusal(sentence(PromptError(.specialToken, detail: special))))
  }
  let (tokens, context) = (tokenizer.count(bundle.manifest.tokenizer.normalized(file.text)), bundle.manifest.context)
  if tokens.tokens < context {
    return .success(DocumentModel.Document(file: file, tokens: tokens, bundle: bundle))
  }
  let (found, room, over) = (formatted(tokens.tokens), formatted(context), formatted(tokens.tokens - context + 1))
  return .failure(Refusal(text("document.tooLong", file.name, found, room, over)))
}
