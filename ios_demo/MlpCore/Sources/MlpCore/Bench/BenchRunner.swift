import Foundation

/// What the device tells of itself while it is measured.
public struct BenchSensors: Sendable {
  var clock: @Sendable () -> Double  // seconds
  var thermal: @Sendable () -> String  // one of the schema's words
  var threads: @Sendable () -> Int?  // of the process; nil where that cannot be told
  var memory: @Sendable () -> Int64  // resident bytes of the process
}

extension BenchSensors {
  public init(_ device: any DeviceProbe) {
    self.init(
      clock: { ProcessInfo.processInfo.systemUptime }, thermal: { device.thermal() }, threads: { device.threads() },
      memory: { device.residentBytes() })
  }
}

/// Measures a bundle by a plan. The engine is not loaded: that is measured too. `publish` gets the result after each
/// step, `cancelled` is asked between slices of a prompt and at each token.
final class BenchRunner {
  private struct Cancelled: Error {}

  // Large slices: each ends with a call of fewer tokens than the program takes at once.
  private static let callsPerSlice = 8

  private let plan: BenchPlan
  private let manifest: Manifest
  private let engine: any Engine
  private let tokenizer: any Tokenizer
  private let sensors: BenchSensors
  private let publish: (BenchResult) -> Void
  private let cancelled: () -> Bool
  private let mostTokens: Int  // of an answer
  private let lengths: [Int]
  private let minutes: Int
  private var result: BenchResult

  init(
    plan: BenchPlan, bundle: ModelBundle, engine: any Engine, tokenizer: any Tokenizer, host: BenchHost,
    sensors: BenchSensors, publish: @escaping (BenchResult) -> Void, cancelled: @escaping () -> Bool = { false }
  ) {
    self.plan = plan
    manifest = bundle.manifest
    self.engine = engine
    self.tokenizer = tokenizer
    self.sensors = sensors
    self.publish = publish
    self.cancelled = cancelled
    // One more than the steps that are timed: the first token comes out of the prefill.
    mostTokens = plan.newTokens + 1
    lengths = plan.promptTokens.filter { bundle.manifest.room(after: $0) > plan.newTokens }
    minutes = lengths.isEmpty ? 0 : plan.sustainedSeconds / 60 + (plan.sustainedSeconds % 60 > 0 ? 1 : 0)
    result = BenchResult(id: plan.id, status: .running, host: host)
    result.plan = plan
    result.bundle = bundle
    result.total = 1 + lengths.count * plan.repetitions + minutes
    result.skipped = plan.promptTokens.filter { !lengths.contains($0) }
  }

  /// Blocks until all is measured, failed or cancelled. The result was published as well.
  @discardableResult
  func run() -> BenchResult {
    do {
      try measureAll()
    } catch is Cancelled {
      show { $0.status = .cancelled }
    } catch {
      show {
        $0.status = .failed
        $0.failure = BenchFailure(error)
      }
    }
    return result
  }

  private func measureAll() throws {
    // TextRunner counts nothing: a rate over an estimate would be a wrong figure.
    if let reason = tokenizer.inexactBecause { throw BenchFailure(kind: BenchFailure.inexactTokens, message: reason) }
    try load()
    for length in lengths {
      let prompt = prompt(length)
      for repetition in 1...plan.repetitions { try repeatRun(prompt, length, repetition) }
    }
    if minutes > 0, let shortest = lengths.min() { try sustain(shortest) }
    show {
      $0.status = .done
      $0.done = $0.total
      $0.stage = ""
    }
  }

  private func load() throws {
    show { $0.stage = "load" }
    let start = sensors.clock()
    try engine.load()
    let seconds = sensors.clock() - start
    show {
      $0.loadSeconds = seconds
      $0.done = 1
    }
  }

  private func repeatRun(_ prompt: [String], _ length: Int, _ repetition: Int) throws {
    show { $0.stage = "\(length) tokens, \(repetition) of \(plan.repetitions)" }
    let before = sensors.threads()
    let run = try measure(prompt, length, repetition)
    let after = sensors.threads()
    show {
      $0.done += 1
      // The runtime starts its threads with the first run; the calling one works as well.
      if $0.runs.isEmpty, let before, let after { $0.threads = max(after - before, 0) + 1 }
      $0.residentBytes = sensors.memory()
      $0.runs.append(run)
    }
  }

  private func sustain(_ length: Int) throws {
    let prompt = prompt(length)
    let start = sensors.clock()
    let done = result.done
    var samples: [BenchSample] = []
    while samples.isEmpty || sensors.clock() - start < Double(plan.sustainedSeconds) {
      let minute = min(Int(sensors.clock() - start) / 60, minutes - 1)
      show {
        $0.done = done + minute
        $0.stage = "sustained, minute \(minute + 1) of \(minutes)"
      }
      let run = try measure(prompt, length, samples.count + 1)
      samples.append(
        BenchSample(
          atSeconds: sensors.clock() - start, prefillTokensPerSecond: rate(run.promptTokens, run.prefillSeconds),
          decodeTokensPerSecond: rate(run.decodeTokens, run.decodeSeconds), thermal: run.thermal))
      let seconds = sensors.clock() - start
      show { $0.sustained = BenchSustained(seconds: seconds, promptTokens: length, samples: samples) }
    }
  }

  /// Prefills `prompt` into an empty cache and decodes. The last slice goes in with the answer's call.
  private func measure(_ prompt: [String], _ wanted: Int, _ repetition: Int) throws -> BenchRun {
    try engine.reset()
    let start = sensors.clock()
    for slice in prompt.dropLast() {
      try checkCancelled()
      try engine.prefill(slice)
    }
    try checkCancelled()
    let before = sensors.clock() - start
    let stats = try engine.generate(prompt.last ?? "", maxNewTokens: mostTokens, temperature: 0) { [engine, cancelled] _ in
      if cancelled() { engine.stop() }
    }
    try checkCancelled()
    return BenchRun(
      promptTokens: prompt.reduce(0) { $0 + tokenizer.count($1).tokens }, wantedTokens: wanted,
      repetition: repetition, prefillSeconds: before + stats.prefillSeconds,
      decodeTokens: max(stats.generatedTokens - 1, 0), decodeSeconds: stats.decodeSeconds,
      thermal: sensors.thermal())
  }

  /// Slices of a text of at most `tokens` tokens and nearly as many.
  private func prompt(_ tokens: Int) -> [String] {
    var low = 1  // words that fit
    var high = tokens + 1  // words that do not: each has at least a token
    while high - low > 1 {
      let middle = (low + high) / 2
      if tokenizer.count(words(middle)).tokens <= tokens { low = middle } else { high = middle }
    }
    return tokenizer.slices(words(low), size: manifest.prefillChunk * Self.callsPerSlice)
  }

  private func checkCancelled() throws {
    if cancelled() { throw Cancelled() }
  }

  private func show(_ change: (inout BenchResult) -> Void) {
    change(&result)
    publish(result)
  }
}

private let sentence =
  "The river rises in the hills to the north and is joined by two streams before it comes to the town."
  .split(separator: " ")

private func words(_ count: Int) -> String {
  (0..<count).map { sentence[$0 % sentence.count] }.joined(separator: " ")
}
