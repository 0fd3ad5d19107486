import Foundation
import Observation

/// Makes the engine of a bundle; does not load.
public typealias EngineFactory = @Sendable (ModelBundle) throws -> Engine

/// The one loaded model of the process and the one request that it works on; outlives screens. Work happens on one
/// queue of its own, as an engine belongs to one thread.
@MainActor
@Observable
public final class ModelHost {
  /// `tag` says whose request it is: "chat/<conversation id>", "task", "document".
  public struct Request: Equatable, Sendable {
    public var bundle: ModelBundle
    public var turns: [Turn]
    public var settings: GenerationSettings
    public var tag: String

    public init(bundle: ModelBundle, turns: [Turn], settings: GenerationSettings, tag: String) {
      self.bundle = bundle
      self.turns = turns
      self.settings = settings
      self.tag = tag
    }
  }

  public enum State: Sendable {
    case idle
    case loading(Request)
    /// `prefilled` of `total` tokens of the prompt are in the KV cache; total is 0 until it is known.
    case working(Request, prefilled: Int, total: Int, text: String)
    case done(Request, Answer)
    /// `problem`: EngineError, PromptError, BundleError or another; `text`: what came before it.
    case failed(Request, problem: any Error, text: String)
  }

  /// Who ended a request. What the system ends is stored as interrupted.
  public enum StopCause: Sendable { case user, background, memory }

  public private(set) var state: State = .idle

  /// Why the last request ended early; nil where it was not stopped, and while none was.
  public private(set) var stopCause: StopCause?

  public var isBusy: Bool {
    switch state {
    case .loading, .working: true
    default: false
    }
  }

  /// Whether `submit` would take a request.
  public var isFree: Bool { !isBusy && reservations == 0 }

  /// The request that is being worked on, or the last one.
  public var request: Request? { state.request }

  /// Stores what comes; called on the model's queue, before the state that says so.
  public var recorder: (any AnswerRecorder)? {
    get { worker.recorder }
    set { worker.recorder = newValue }
  }

  @ObservationIgnored private let worker: ModelWorker
  @ObservationIgnored private var reservations = 0
  @ObservationIgnored private var listeners: [WeakListener] = []

  public init(
    engines: @escaping EngineFactory, tokenizers: @escaping @Sendable (ModelBundle) -> Tokenizer,
    memory: @escaping @Sendable () -> Int64
  ) {
    worker = ModelWorker(engines: engines, tokenizers: tokenizers, memory: memory)
  }

  /// False while another request runs, so that a second tap does nothing, and while this is reserved.
  public func submit(_ request: Request) -> Bool {
    guard isFree else { return false }
    stopCause = nil
    show(.loading(request))
    worker.start(request) { [weak self] state in self?.show(state) }
    return true
  }

  /// Ends the running request; what was generated so far stays.
  public func stop() { stop(.user) }

  public func stop(_ cause: StopCause) {
    guard isBusy else { return }
    if stopCause == nil { stopCause = cause }
    worker.stop(isInterruption: cause != .user)
  }

  /// Frees the memory of `bundle`'s model, or of any, after a running request was stopped.
  public func unload(_ bundle: ModelBundle? = nil) async {
    if bundle == nil || bundle?.folder == request?.bundle.folder { stop() }
    await worker.close(bundle)
  }

  /// Takes no request until the result's `release` was called: a measurement needs memory and processors for itself.
  public func reserve() -> Reservation {
    reservations += 1
    return Reservation { [weak self] in self?.reservations -= 1 }
  }

  /// Calls `hear` with each new state for as long as the result is kept; views observe `state` instead.
  func listen(_ hear: @escaping @MainActor (State) -> Void) -> Listener {
    let listener = Listener(hear)
    listeners.append(WeakListener(listener: listener))
    return listener
  }

  private func show(_ state: State) {
    self.state = state
    listeners.removeAll { $0.listener == nil }
    for listener in listeners { listener.listener?.hear(state) }
  }

  @MainActor
  final class Listener {
    fileprivate let hear: @MainActor (State) -> Void

    fileprivate init(_ hear: @escaping @MainActor (State) -> Void) { self.hear = hear }
  }

  private struct WeakListener {
    weak var listener: Listener?
  }

  @MainActor
  public final class Reservation {
    private var end: (@MainActor () -> Void)?

    init(_ end: @escaping @MainActor () -> Void) { self.end = end }

    public func release() {
      end?()
      end = nil
    }
  }
}

extension ModelHost.State {
  public var request: ModelHost.Request? {
    switch self {
    case .idle: nil
    case .loading(let request), .working(let request, _, _, _), .done(let request, _), .failed(let request, _, _):
      request
    }
  }
}

/// Stores what comes of a request. Must not throw.
public protocol AnswerRecorder: Sendable {
  func wrote(_ request: ModelHost.Request, text: String)
  func ended(_ request: ModelHost.Request, with end: ModelHost.State)
}
