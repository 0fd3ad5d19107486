import Foundation

/// What went wrong, as a sentence that says what was found, what was expected and what to do.
public func sentence(_ problem: any Error) -> String {
  switch problem {
  case let error as BundleError: sentence(error)
  case let error as EngineError: sentence(error.failure)
  case let error as PromptError: sentence(error)
  case let error as NoSpaceError: sentence(error)
  case let error as StorageError: sentence(error)
  default: sentence(ofSystem: problem)
  }
}

private func sentence(_ error: BundleError) -> String {
  let sizes = error.problem == .wrongSize ? sizes(in: error.detail) : nil
  if let (file, found, expected) = sizes { return text("problem.wrongSizeBytes", file, found, expected) }
  let key =
    switch error.problem {
    case .notABundle: "problem.notABundle"
    case .newerFormat: "problem.newerFormat"
    case .damagedManifest: "problem.damagedManifest"
    case .badName: "problem.badName"
    case .symbolicLink: "problem.symbolicLink"
    case .missingFile: "problem.missingFile"
    case .wrongSize: "problem.wrongSize"
    case .wrongHash: "problem.wrongHash"
    case .unreadable: "problem.unreadable"
    }
  return text(key, error.detail)
}

/// "model.pte: 17 of 3000", as `ModelBundle` says it.
private func sizes(in detail: String) -> (String, String, String)? {
  guard let colon = detail.range(of: ": ", options: .backwards) else { return nil }
  let numbers = detail[colon.upperBound...].components(separatedBy: " of ").map { Int64($0) }
  guard numbers.count == 2, let found = numbers[0], let expected = numbers[1] else { return nil }
  return (String(detail[..<colon.lowerBound]), formatted(found), formatted(expected))
}

public func sentence(_ reason: DeviceFit.Reason) -> String {
  func memory(_ text: String) -> String { Int64(text).map(formattedSize) ?? text }
  let key =
    switch reason.kind {
    case .otherSystem: "fit.otherSystem"
    case .oldSystem: "fit.oldSystem"
    case .oldRuntime: "fit.oldRuntime"
    case .missingBackend: "fit.missingBackend"
    case .tooLittleMemory: "fit.tooLittleMemory"
    case .littleFreeMemory: "fit.littleFreeMemory"
    case .simulator: "fit.simulator"
    case .notVerified: "fit.notVerified"
    }
  let isMemory = reason.kind == .tooLittleMemory || reason.kind == .littleFreeMemory
  let found = isMemory ? memory(reason.found) : reason.found
  let expected = isMemory ? memory(reason.expected) : reason.expected
  return text(key, found.isEmpty ? text("fit.nothing") : found, expected)
}

public func sentence(_ failure: EngineFailure) -> String {
  let key =
    switch failure.kind {
    case .missingFile: "failure.missingFile"
    case .notAProgram: "failure.notAProgram"
    case .missingOperator: "failure.missingOperator"
    case .missingBackend: "failure.missingBackend"
    case .wrongDelegate: "failure.wrongDelegate"
    case .outOfMemory: "failure.outOfMemory"
    case .contextFull: "failure.contextFull"
    case .unknown: "failure.unknown"
    }
  // ExecuTorch prints its codes in hexadecimal, and so do its headers. -1 is no code of it: nothing was created.
  let code = failure.code.map { $0 < 0 ? String($0) : "0x" + String($0, radix: 16) }
  let said = failure.detail.hasSuffix(".") ? String(failure.detail.dropLast()) : failure.detail
  let detail =
    switch code {
    case nil: said.isEmpty ? text("failure.noDetail") : said
    case let code? where said.isEmpty: text("failure.codeOnly", code)
    case let code?: text("failure.code", said, code)
    }
  return text(key, detail)
}

private func sentence(_ error: PromptError) -> String {
  switch error.problem {
  case .empty: return text("prompt.empty")
  case .specialToken: return text("prompt.specialToken", error.detail)
  case .noSystemRole: return text("prompt.noSystemRole")
  case .tooLong:
    guard let tokens = error.tokens, let context = error.context else { return text("prompt.tooLongUnknown") }
    // One token at least must be left for the answer.
    let over = tokens.tokens - context + 1
    let key = tokens.isExact ? "prompt.tooLong" : "prompt.tooLongEstimate"
    return text(key, formatted(tokens.tokens), formatted(context), formatted(over))
  }
}

private func sentence(_ error: NoSpaceError) -> String {
  let key =
    switch error.purpose {
    case .copy: "problem.noSpace"
    case .compile: "problem.noSpaceToCompile"
    }
  return text(key, formattedSize(error.needed), formattedSize(error.free))
}

private func sentence(_ error: StorageError) -> String {
  error.isFull ? text("problem.storageFull") : text("problem.storage", error.detail)
}

/// What Foundation and file providers throw.
private func sentence(ofSystem problem: any Error) -> String {
  let error = problem as NSError
  switch SystemProblem(error) {
  case .offline: return text("problem.offline")
  case .notAllowed: return text("problem.notAllowed")
  case .gone: return text("problem.gone")
  case .full: return text("problem.full")
  case .other: return text("problem.other", "\(error.localizedDescription) (\(error.domain) \(error.code))")
  }
}
