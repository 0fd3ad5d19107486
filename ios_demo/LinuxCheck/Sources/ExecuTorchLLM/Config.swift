import Foundation

/// Stand-in of ExecuTorchLLMConfig.h with the defaults of llm::GenerationConfig (ExecuTorch 1.5).
@available(*, deprecated, message: "This API is experimental.")
public final class Config: NSObject {
  public var isEchoEnabled = true
  public var maximumNewTokens = -1
  public var isWarming = false
  public var sequenceLength = -1
  public var temperature = 0.8
  public var bosCount = 0
  public var eosCount = 0

  public override init() {}

  public convenience init(_ block: (Config) -> Void) {
    self.init()
    block(self)
  }
}
