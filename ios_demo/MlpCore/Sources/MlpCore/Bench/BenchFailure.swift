/// Why nothing, or not all, was measured. `kind`: the name of an EngineFailure.Kind, a BundleProblem or a
/// DeviceFit.Kind, or one of those below.
struct BenchFailure: Error, Equatable, Sendable {
  static let badPlan = "BAD_PLAN"
  static let inexactTokens = "INEXACT_TOKENS"

  var kind: String
  var code: Int?
  var message: String

  init(kind: String, code: Int? = nil, message: String) {
    self.kind = kind
    self.code = code
    self.message = message
  }

  init(_ error: any Error) {
    switch error {
    case let failure as BenchFailure: self = failure
    case let error as EngineError:
      self.init(kind: error.failure.kind.rawValue, code: error.failure.code, message: error.failure.detail)
    case let error as BundleError: self.init(kind: error.problem.rawValue, message: sentence(error))
    default: self.init(kind: EngineFailure.Kind.unknown.rawValue, message: sentence(error))
    }
  }
}
