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

  public private(set) var state: State = .idle

  public var isBusy: Bool {
    switch state {
    case .loading, .working: true
    default: false
    }
  }

  /// Stores what comes; called on the model's queue, before the state that says so.
  public var recorder: (any AnswerRecorder)?

  public init(
    engines: @escaping EngineFactory, tokenizers: @escaping @Sendable (ModelBundle) -> Tokenizer,
    memory: @escaping @Sendable () -> Int64
  ) { fatalError("skeleton") }

  /// False while another request runs, so that a second tap does nothing, and while this is reserved.
  public func submit(_ request: Request) -> Bool { fatalError("skeleton") }

  /// Ends the running request; what was generated so far stays.
  public func stop() { fatalError("skeleton") }

  /// Frees the memory of `bundle`'s model, or of any, after a running request was stopped.
  public func unload(_ bundle: ModelBundle? = nil) async { fatalError("skeleton") }

  /// Takes no request until the result's `release` was called: a measurement needs memory and processors for itself.
  public func reserve() -> Reservation { fatalError("skeleton") }

  @MainActor
  public final class Reservation {
    public func release() { fatalError("skeleton") }
  }
}

/// Stores what comes of a request. Must not throw.
public protocol AnswerRecorder: Sendable {
  func wrote(_ request: ModelHost.Request, text: String)
  func ended(_ request: ModelHost.Request, with end: ModelHost.State)
}
