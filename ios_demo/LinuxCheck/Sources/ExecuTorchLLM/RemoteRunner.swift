import Foundation

/// ExecuTorch's own TextLLMRunner, in a process that ios_demo/tools/text_runner.py serves: two named pipes in `folder`,
/// a JSON object a line. Every piece waits for a word, so that a stop reaches the runner where it would on a phone.
public final class RemoteRunner: NativeRunner {
  /// One runner at a time is served, as one is loaded at a time.
  public final class Connection {
    fileprivate let requests: FileHandle
    fileprivate let replies: FileHandle
    private var buffer = Data()

    /// nil where nothing serves `folder`.
    public init?(folder: String) {
      guard let requests = FileHandle(forWritingAtPath: folder + "/requests"),
        let replies = FileHandle(forReadingAtPath: folder + "/replies")
      else { return nil }
      self.requests = requests
      self.replies = replies
    }

    fileprivate func send(_ request: Request) throws {
      try requests.write(contentsOf: JSONEncoder().encode(request) + Data([10]))
    }

    fileprivate func receive() throws -> Reply {
      while true {
        if let end = buffer.firstIndex(of: 10) {
          let line = buffer[..<end]
          buffer = Data(buffer[(end + 1)...])
          return try JSONDecoder().decode(Reply.self, from: line)
        }
        let more = replies.availableData
        guard !more.isEmpty else { throw NSError(domain: "RemoteRunner", code: 0) }
        buffer += more
      }
    }
  }

  fileprivate struct Request: Encodable {
    var call: String
    var model: String?
    var tokenizer: String?
    var prompt: String?
    var echo: Bool?
    var max_new_tokens: Int?
    var seq_len: Int?
    var temperature: Double?
    var num_bos: Int?
    var num_eos: Int?
    var warming: Bool?
  }

  fileprivate struct Reply: Decodable {
    var piece: String?
    var error: Int?
    var message: String?
  }

  private let connection: Connection
  private let model: String
  private let tokenizer: String
  private let lock = NSLock()
  private var isStopping = false

  public init(_ connection: Connection, model: String, tokenizer: String) {
    self.connection = connection
    self.model = model
    self.tokenizer = tokenizer
  }

  public func load() throws {
    try connection.send(Request(call: "load", model: model, tokenizer: tokenizer))
    try finish()
  }

  public func generate(_ prompt: String, _ settings: RunnerSettings, piece: ([UInt8]) -> Void) throws {
    try connection.send(
      Request(
        call: "generate", prompt: prompt, echo: settings.isEchoEnabled, max_new_tokens: settings.maximumNewTokens,
        seq_len: settings.sequenceLength, temperature: settings.temperature, num_bos: settings.bosCount,
        num_eos: settings.eosCount, warming: settings.isWarming))
    while true {
      let reply = try connection.receive()
      guard let text = reply.piece else { return try check(reply) }
      piece(Array(text.utf8))
      let stop = lock.withLock {
        defer { isStopping = false }
        return isStopping
      }
      try connection.send(Request(call: stop ? "stop" : "go"))
    }
  }

  public func stop() { lock.withLock { isStopping = true } }

  public func reset() {
    do {
      try connection.send(Request(call: "reset"))
      try finish()
    } catch {
      preconditionFailure("reset has no way to fail: \(error)")
    }
  }

  private func finish() throws { try check(connection.receive()) }

  private func check(_ reply: Reply) throws {
    guard let code = reply.error else { return }
    throw NSError(domain: ErrorDomain, code: code, userInfo: [NSLocalizedDescriptionKey: reply.message ?? ""])
  }
}
