import Foundation

/// Carries out a plan that came as text, and writes each state of the result into `folder`. Whatever goes wrong, a
/// result with the reason is there in the end: nobody may be looking at the device.
struct BenchJob: Sendable {
  /// Name of the result of a plan that does not even have a usable id.
  static let noId = "bad-plan"

  var folder: URL
  var repository: BundleRepository
  var ledger: HashLedger
  var device: any DeviceProbe
  var engines: EngineFactory
  var tokenizers: @Sendable (ModelBundle) -> any Tokenizer

  /// Blocks until all is measured, failed or cancelled. `publish` gets each state, and why it could not be written.
  func run(
    _ text: String, isCancelled: @escaping @Sendable () -> Bool,
    publish: @escaping @Sendable (BenchResult, StorageError?) -> Void
  ) {
    let device = device.device()
    var result = BenchResult(id: BenchPlan.id(of: text) ?? Self.noId, status: .failed, host: BenchHost(device))
    func show(_ result: BenchResult) {
      do {
        try result.write(to: folder)
        publish(result, nil)
      } catch {
        publish(result, StorageError(error))
      }
    }
    do {
      let plan = try plan(text)
      result.plan = plan
      let bundle = try open(plan.bundle, isCancelled)
      result.bundle = bundle
      if let reason = deviceFit(bundle.manifest, device).reasons.first {
        throw BenchFailure(kind: reason.kind.rawValue, message: sentence(reason))
      }
      let engine = try engines(bundle)
      defer { engine.close() }
      BenchRunner(
        plan: plan, bundle: bundle, engine: engine, tokenizer: tokenizers(bundle), host: result.host,
        sensors: BenchSensors(self.device), publish: show, cancelled: isCancelled
      ).run()
    } catch is CancellationError {
      result.status = .cancelled
      show(result)
    } catch {
      result.failure = BenchFailure(error)
      show(result)
    }
  }

  private func plan(_ text: String) throws -> BenchPlan {
    do {
      return try BenchPlan.parse(text)
    } catch let error as JsonError {
      throw BenchFailure(kind: BenchFailure.badPlan, message: MlpCore.text("bench.badPlan", error.description))
    }
  }

  /// The bundle in the folder `name`, its hashes checked.
  private func open(_ name: String, _ isCancelled: () -> Bool) throws -> ModelBundle {
    switch try repository.list().first(where: { $0.name == name }) {
    case nil: throw BundleError(.notABundle, name)
    case .incomplete?: throw BundleError(.notABundle, name)
    case .broken(_, let error)?: throw error
    case .usable(_, .wrong(let file))?: throw BundleError(.wrongHash, file)
    case .usable(let bundle, .checked)?: return bundle
    case .usable(let bundle, .unchecked)?:
      try bundle.checkHashes { _, _ in if isCancelled() { throw CancellationError() } }
      ledger.record(bundle, wrong: nil)
      return bundle
    }
  }
}
