import Foundation

// The lines that the Android app writes, key by key: its conversations and ours can change places. Readers want each
// key to be there, null where there is nothing to say.

extension ConversationChange {
  /// nil for a line that is damaged, or that a later version wrote.
  init?(line: Data) {
    guard let text = String(data: line, encoding: .utf8), let json = try? Json.parse(text).asObject,
      let change = try? Self.read(JsonFields(json))
    else { return nil }
    self = change
  }

  /// JSON without a line break.
  var line: String {
    var json: JsonObject =
      switch kind {
      case .start(let id, let title, let bundle, let systemPrompt):
        [
          "time": .integer(time), "change": "start", "id": .string(id), "title": .string(title),
          "bundle": .string(bundle), "system_prompt": .text(systemPrompt),
        ]
      case .add(let message, let role, let text, let end, _):
        [
          "time": .integer(time), "change": "add", "message": .string(message), "role": .string(storedName(role)),
          "text": .string(text), "end": .text(end?.rawValue), "statistics": nil,
        ]
      case .more(let message, let text):
        ["time": .integer(time), "change": "more", "message": .string(message), "text": .string(text)]
      case .end(let message, let end, let statistics):
        [
          "time": .integer(time), "change": "end", "message": .string(message), "end": .string(end.rawValue),
          "statistics": statistics.map(\.json) ?? nil,
        ]
      case .rename(let title):
        ["time": .integer(time), "change": "rename", "title": .string(title)]
      }
    if case .add(_, _, _, _, let replaces?) = kind { json["replaces"] = .string(replaces) }
    return Json.object(json).encoded()
  }

  private static func read(_ json: JsonFields) throws -> ConversationChange {
    let kind: Kind =
      switch try json.string("change") {
      case "start":
        .start(
          id: try json.string("id"), title: try json.string("title"), bundle: try json.string("bundle"),
          systemPrompt: try json.stringOrNull("system_prompt"))
      case "add":
        // An added answer has no statistics yet.
        .add(
          message: try json.string("message"), role: try json.one(of: Role.allCases, "role", storedName),
          text: try json.string("text"),
          end: try json.stringOrNull("end") == nil ? nil : try json.one(of: AnswerEnd.allCases, "end", \.rawValue),
          replaces: json.has("replaces") ? try json.string("replaces") : nil)
      case "more": .more(message: try json.string("message"), text: try json.string("text"))
      case "end":
        .end(
          message: try json.string("message"), try json.one(of: AnswerEnd.allCases, "end", \.rawValue),
          try json.fieldsOrNull("statistics").map(AnswerStatistics.init(json:)))
      case "rename": .rename(title: try json.string("title"))
      default: throw json.wrong("change", "a change that is known")
      }
    return ConversationChange(try json.int64("time", atLeast: 0), kind)
  }
}

private func storedName(_ role: Role) -> String { role.rawValue.uppercased() }

extension JsonFields {
  fileprivate func one<Value>(of values: [Value], _ key: String, _ name: (Value) -> String) throws -> Value {
    let found = try string(key)
    guard let value = values.first(where: { name($0) == found }) else {
      throw wrong(key, values.map(name).joined(separator: ", "))
    }
    return value
  }
}

extension AnswerStatistics {
  /// As it is read again: the file has milliseconds, and no infinite rate.
  var asStored: AnswerStatistics { (try? json.asObject.map { try AnswerStatistics(json: JsonFields($0)) }) ?? self }

  fileprivate var json: Json {
    [
      "prompt_tokens": .integer(Int64(promptTokens)),
      "cached_tokens": .integer(Int64(cachedTokens)),
      "answer_tokens": .integer(Int64(answerTokens)),
      "first_token_ms": .integer(Int64((firstTextSeconds * 1000).rounded())),
      "prefill_tok_s": .number(prefillTokensPerSecond),
      "decode_tok_s": .number(decodeTokensPerSecond),
      "memory_bytes": .integer(memoryBytes),
      "lost_characters": .integer(Int64(lostCharacters)),
    ]
  }

  fileprivate init(json: JsonFields) throws {
    self.init(
      promptTokens: try json.int("prompt_tokens", atLeast: 0), cachedTokens: try json.int("cached_tokens", atLeast: 0),
      answerTokens: try json.int("answer_tokens", atLeast: 0),
      firstTextSeconds: Double(try json.int64("first_token_ms", atLeast: 0)) / 1000,
      prefillTokensPerSecond: try json.doubleOrNull("prefill_tok_s"),
      decodeTokensPerSecond: try json.doubleOrNull("decode_tok_s"),
      memoryBytes: try json.int64("memory_bytes", atLeast: 0),
      lostCharacters: json.has("lost_characters") ? try json.int("lost_characters", atLeast: 0) : 0)  // not Android's
  }
}
