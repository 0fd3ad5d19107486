import MlpCore

/// SmolLM2's chat format.
public let chatml = ChatFormat(
  bos: "", systemPrefix: "<|im_start|>system\n", systemSuffix: "<|im_end|>\n", userPrefix: "<|im_start|>user\n",
  userSuffix: "<|im_end|>\n", assistantPrefix: "<|im_start|>assistant\n", assistantSuffix: "<|im_end|>\n",
  defaultSystem: nil, trim: false, stop: ["<|im_end|>"])

/// A manifest as an XNNPACK export has it, with the values that a test cares about; it names no files.
/// A chunk is 16 tokens, and never the whole context, where none is given.
public func manifest(
  context: Int = 128, prefillChunk: Int? = nil, chat: ChatFormat? = chatml, backend: String = "xnnpack",
  target: String? = nil, minRuntime: [String: String] = ["executorch": "1.3"], deviceRamBytes: Int64 = 150_000_000,
  license: String? = "Apache-2.0", addBos: Bool = false, chatLimits: [String] = [],
  normalization: Manifest.TokenizerInfo.Normalization? = nil, answerStrip: String? = nil
) -> Manifest {
  Manifest(
    exporter: .init(name: "mlp-export", version: "0.2.0"),
    model: .init(
      id: "HuggingFaceTB/SmolLM2-135M-Instruct", revision: "1", license: license, parameters: 134_515_008,
      vocabSize: 49_152),
    backend: .init(name: backend, target: target, compiledWith: ["executorch": "1.5.1"], minRuntime: minRuntime),
    context: context, prefillChunk: prefillChunk ?? max(min(16, context - 1), 1), quantizationScheme: "int4-g32",
    kvCacheBytes: 23_592_960, kvScaleBytes: 1_474_560, deviceRamBytes: deviceRamBytes,
    tokenizer: .init(
      files: ["tokenizer.json"], bosId: 1, eosIds: [2], addBos: addBos, normalization: normalization,
      answerStrip: answerStrip),
    chat: chat, chatLimits: chatLimits,
    verification: .init(
      passed: true, tokens: 57, checks: [.init(name: "weights", passed: true, detail: "bit-equal")]),
    files: [:])
}

/// `manifest` as the text of a manifest.json of format 2. What `Manifest` does not keep is made up.
public func manifestText(_ manifest: Manifest) -> String {
  let model = manifest.model
  let shape: Json = [
    "vocab_size": .integer(Int64(model.vocabSize)), "hidden_size": 576, "num_layers": 30, "num_heads": 9,
    "num_kv_heads": 3, "head_dim": 64,
  ]
  let json: Json = [
    "format": 2,
    "exporter": manifest.exporter.map { ["name": .string($0.name), "version": .string($0.version)] } ?? .null,
    "model": [
      "id": .string(model.id), "revision": text(model.revision), "license": text(model.license),
      "parameters": .integer(model.parameters), "shape": shape,
    ],
    "backend": [
      "name": .string(manifest.backend.name), "target": text(manifest.backend.target),
      "compiled_with": texts(manifest.backend.compiledWith), "min_runtime": texts(manifest.backend.minRuntime),
    ],
    "context": .integer(Int64(manifest.context)), "prefill_chunk": .integer(Int64(manifest.prefillChunk)),
    "quantization": [
      "scheme": .string(manifest.quantizationScheme), "scales": "weights", "activations": "int8-dynamic-per-token",
      "kv_cache": "int8",
    ],
    "kv_cache_bytes": .integer(manifest.kvCacheBytes), "kv_scale_bytes": .integer(manifest.kvScaleBytes),
    "device_ram_bytes": .integer(manifest.deviceRamBytes), "tied_weights_stored_once": true,
    "tokenizer": [
      "files": .array(manifest.tokenizer.files.map(Json.string)), "bos_id": .integer(Int64(manifest.tokenizer.bosId)),
      "eos_ids": .array(manifest.tokenizer.eosIds.map { .integer(Int64($0)) }),
      "add_bos": .bool(manifest.tokenizer.addBos), "normalization": text(manifest.tokenizer.normalization?.rawValue),
      "answer_strip": text(manifest.tokenizer.answerStrip),
    ],
    "chat": manifest.chat.map(chat) ?? .null, "chat_limits": .array(manifest.chatLimits.map(Json.string)),
    "verification": manifest.verification.map(verification) ?? .null,
    "files": .object(files(manifest)),
  ]
  return json.encoded()
}

private func chat(_ format: ChatFormat) -> Json {
  [
    "bos": .string(format.bos), "system_prefix": text(format.systemPrefix), "system_suffix": text(format.systemSuffix),
    "user_prefix": .string(format.userPrefix), "user_suffix": .string(format.userSuffix),
    "assistant_prefix": .string(format.assistantPrefix), "assistant_suffix": .string(format.assistantSuffix),
    "default_system": text(format.defaultSystem), "trim": .bool(format.trim),
    "stop": .array(format.stop.map(Json.string)), "generation_prompt": .string(format.generationPrompt),
    "reasoning_end": text(format.reasoningEnd), "reasoning_trim": .string(format.reasoningTrim.rawValue),
    "answer_trim_start": .string(format.answerTrimStart.rawValue),
    "answer_trim_end": .string(format.answerTrimEnd.rawValue),
  ]
}

private func verification(_ verification: Manifest.Verification) -> Json {
  let checks = verification.checks.map { check -> Json in
    ["name": .string(check.name), "passed": .bool(check.passed), "detail": .string(check.detail)]
  }
  return [
    "passed": .bool(verification.passed), "tokens": .integer(Int64(verification.tokens)), "checks": .array(checks),
  ]
}

private func files(_ manifest: Manifest) -> JsonObject {
  var files = JsonObject()
  for (name, entry) in manifest.files.sorted(by: { $0.key < $1.key }) {
    files[name] = ["bytes": .integer(entry.bytes), "sha256": .string(entry.sha256)]
  }
  return files
}

private func text(_ value: String?) -> Json { value.map(Json.string) ?? .null }

private func texts(_ values: [String: String]) -> Json {
  var object = JsonObject()
  for (key, value) in values.sorted(by: { $0.key < $1.key }) { object[key] = .string(value) }
  return .object(object)
}
