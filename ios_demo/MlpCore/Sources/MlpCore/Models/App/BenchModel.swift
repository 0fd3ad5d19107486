import Foundation
import Observation

/// A benchmark that a computer started, and what its screen shows: the device is measured without a finger. From a Mac:
/// `xcrun devicectl device process launch --device ID org.mlpexport.demo --bench '{"format": 1, ...}'`; the result is
/// Documents/bench/ID.json.
@MainActor
@Observable
public final class BenchModel {
  // Of a run of minutes the last ones; the file has them all.
  private static let samples = 5

  /// The plan among the arguments of a launch; nil where there is none. Without its text it is a bad plan.
  public static func plan(in arguments: [String]) -> String? {
    guard let index = arguments.firstIndex(of: "--bench") else { return nil }
    return index + 1 < arguments.count ? arguments[index + 1] : ""
  }

  private var result: BenchResult?
  private var writeProblem: StorageError?
  private var hasStarted = false
  private var hasEnded = false

  @ObservationIgnored private let plan: String?
  @ObservationIgnored private let job: BenchJob
  @ObservationIgnored private let host: ModelHost
  @ObservationIgnored private let cancellation = Cancellation()
  @ObservationIgnored private let queue = DispatchQueue(label: "benchmark", qos: .userInitiated)

  /// `plan`: that of the launch. `host` is kept from loading a model beside the one that is measured.
  public init(
    plan: String?, folders: AppFolders, device: any DeviceProbe, host: ModelHost, bundles: BundleRepository,
    ledger: HashLedger, engines: @escaping EngineFactory, tokenizers: @escaping @Sendable (ModelBundle) -> any Tokenizer
  ) {
    self.plan = plan
    self.host = host
    job = BenchJob(
      folder: folders.documents.appendingPathComponent("bench"), repository: bundles, ledger: ledger, device: device,
      engines: engines, tokenizers: tokenizers)
  }

  /// Whether this launch asked for a benchmark.
  public var isWanted: Bool { plan != nil }

  /// Measures once: a screen that comes back does not measure anew.
  public func start() {
    guard let plan, !hasStarted else { return }
    hasStarted = true
    // Two models at once are more than many devices hold.
    let reservation = host.reserve()
    let (states, continuation) = AsyncStream.makeStream(of: (BenchResult, StorageError?).self)
    Task {
      await host.unload()
      queue.async { [job, cancellation] in
        job.run(plan, isCancelled: { cancellation.isCancelled }, publish: { continuation.yield(($0, $1)) })
        continuation.finish()
      }
      for await (result, problem) in states {
        self.result = result
        writeProblem = problem
      }
      reservation.release()
      hasEnded = true
    }
  }

  /// Ends the measurement after the token or the slice of a prompt at which it is. The screen was left, or the app: a
  /// suspended app's seconds are no measurement.
  public func cancel() { cancellation.cancel() }

  /// Until the engine is closed. The display is to stay on: the system suspends the app once it is off.
  public var isRunning: Bool { hasStarted && !hasEnded }

  /// The model's name, or that of its folder where it could not be opened.
  public var name: String { result?.bundle.map { modelName($0.manifest) } ?? result?.plan?.bundle ?? "" }

  public var stage: String {
    guard let result else { return text(plan == nil ? "bench.none" : "bench.starting") }
    switch result.status {
    case .running: return text("bench.running", formatted(result.done + 1), formatted(result.total), result.stage)
    case .done: return text("bench.done")
    case .cancelled: return text("bench.cancelled")
    case .failed: return text("bench.failed", result.failure.map(reason) ?? "")
    }
  }

  /// 0 to 1; nil while nothing is known.
  public var fraction: Double? {
    guard let result, result.total > 0 else { return nil }
    return Double(result.done) / Double(result.total)
  }

  /// What was measured so far, a line each.
  public var lines: [String] {
    guard let result else { return [] }
    let load = result.loadSeconds.map { text("bench.loaded", decimal($0)) }
    let runs = result.runs.map { run in
      let decode = run.decodeSeconds > 0 ? Double(run.decodeTokens) / run.decodeSeconds : nil
      return text(
        "bench.run", formatted(run.promptTokens), decimal(run.prefillSeconds), decimal(decode), run.thermal)
    }
    let samples = (result.sustained?.samples ?? []).suffix(Self.samples).map { sample in
      text(
        "bench.sample", decimal(sample.atSeconds), decimal(sample.prefillTokensPerSecond),
        decimal(sample.decodeTokensPerSecond), sample.thermal)
    }
    return [load].compactMap { $0 } + runs + samples
  }

  /// Where the result is, or why it is nowhere.
  public var file: String {
    guard let result else { return "" }
    if let writeProblem { return text("bench.notWritten", writeProblem.detail) }
    return text("bench.file", "bench/\(result.id).json")
  }

  /// The engine's failures are names and numbers in the file, and sentences here.
  private func reason(_ failure: BenchFailure) -> String {
    if failure.kind == BenchFailure.inexactTokens { return text("bench.inexactTokens", failure.message) }
    guard let kind = EngineFailure.Kind(rawValue: failure.kind) else { return failure.message }
    return sentence(EngineFailure(kind: kind, code: failure.code, detail: failure.message))
  }

  private func decimal(_ value: Double?) -> String { value.map { formatted($0, digits: 1) } ?? "–" }
}
