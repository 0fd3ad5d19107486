/// One prompt at an empty KV cache, and its answer.
struct BenchRun: Equatable, Sendable {
  var promptTokens: Int
  var wantedTokens: Int
  var repetition: Int
  var prefillSeconds: Double
  var decodeTokens: Int
  var decodeSeconds: Double
  var thermal: String
}

/// One prompt and answer of many, one after the other.
struct BenchSample: Equatable, Sendable {
  var atSeconds: Double
  var prefillTokensPerSecond: Double?
  var decodeTokensPerSecond: Double?
  var thermal: String
}

struct BenchSustained: Equatable, Sendable {
  var seconds: Double
  var promptTokens: Int
  var samples: [BenchSample]
}

/// What was measured so far.
struct BenchResult: Equatable, Sendable {
  enum Status: String, Sendable { case running, done, failed, cancelled }

  var id: String
  var status: Status
  var host: BenchHost
  var plan: BenchPlan?  // nil: it could not be read
  var bundle: ModelBundle?  // nil: it could not be opened
  var failure: BenchFailure?
  var done = 0  // steps of the plan
  var total = 0
  var stage = ""
  var skipped: [Int] = []
  var threads: Int?
  var loadSeconds: Double?
  var residentBytes: Int64?
  var runs: [BenchRun] = []
  var sustained: BenchSustained?

  init(id: String, status: Status, host: BenchHost) {
    self.id = id
    self.status = status
    self.host = host
  }
}
