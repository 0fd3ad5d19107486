/// `NSError.domain` of ExecuTorch's LLM module, and of its core. Both give ExecuTorch's error numbers.
private let runnerDomain = "org.pytorch.executorch.llm.error"
private let domains = [runnerDomain, "org.pytorch.executorch.error"]

/// What an error of ExecuTorch's Swift API means: `code`, `domain` and `message` are an `NSError`'s. The numbers are
/// those of runtime/core/error.h of 1.3 to 1.5.
public func engineFailure(code: Int, domain: String, message: String) -> EngineFailure {
  EngineFailure(kind: domains.contains(domain) ? kind(code, domain, message) : .unknown, code: code, detail: message)
}

private func kind(_ code: Int, _ domain: String, _ message: String) -> EngineFailure.Kind {
  switch code {
  // TextRunner.load() gives the first, LlmModule of Android the second, where the file is no program or the tokenizer
  // cannot be read.
  case -1: domain == runnerDomain && message.contains("Failed to create runner") ? .notAProgram : .unknown
  case 0x02: message.contains("not created") ? .notAProgram : .unknown  // InvalidState
  case 0x12: .contextFull  // InvalidArgument: the KV cache is addressed beyond its end
  case 0x14: .missingOperator  // OperatorMissing
  case 0x20: .missingBackend  // NotFound
  // MemoryAllocationFailed, OutOfResources, DelegateMemoryAllocationFailed
  case 0x21, 0x25, 0x31: .outOfMemory
  case 0x22: .missingFile  // AccessFailed
  case 0x23, 0x24: .notAProgram  // InvalidProgram, InvalidExternalData
  case 0x30, 0x32: .wrongDelegate  // DelegateInvalidCompatibility, DelegateInvalidHandle
  default: .unknown
  }
}
