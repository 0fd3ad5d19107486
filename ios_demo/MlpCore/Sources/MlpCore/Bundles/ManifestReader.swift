private let format: Int64 = 2
private let shape = ["hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim"]
private let neededFiles = ["model.pte", "tokenizer.json", "LICENSE"]

/// Reads a manifest as mlp_export/data/manifest.schema.json has it: no key may be missing, and no other be there.
func readManifest(_ text: String) throws -> Manifest {
  do {
    guard case .object(let object) = try Json.parse(text) else { throw JsonError("", "expected a JSON object") }
    return try readManifest(JsonFields(object))
  } catch let error as JsonError {
    throw BundleError(.damagedManifest, error.description)
  }
}

private func readManifest(_ json: JsonFields) throws -> Manifest {
  let number = try json.int64("format", atLeast: 1)
  if number > format { throw BundleError(.newerFormat, "\(number)") }
  let files = try readFiles(try json.fields("files"))
  _ = try json.bool("tied_weights_stored_once")
  let manifest = Manifest(
    exporter: json.has("exporter") ? try json.fieldsOrNull("exporter").map(readExporter) : nil,
    model: try readModel(try json.fields("model")),
    backend: try readBackend(try json.fields("backend"), number == 1 ? "least_runtime" : "min_runtime"),
    context: try json.int("context", atLeast: 1),
    prefillChunk: try json.int("prefill_chunk", atLeast: 1),
    quantizationScheme: try readQuantization(try json.fields("quantization")),
    kvCacheBytes: try json.int64("kv_cache_bytes", atLeast: 0),
    kvScaleBytes: try json.int64("kv_scale_bytes", atLeast: 0),
    deviceRamBytes: try json.int64("device_ram_bytes", atLeast: 0),
    tokenizer: try readTokenizer(try json.fields("tokenizer"), files),
    chat: try json.fieldsOrNull("chat").map(ChatFormat.init),
    chatLimits: json.has("chat_limits") ? try json.nonEmptyStrings("chat_limits") : [],
    verification: try json.fieldsOrNull("verification").map(readVerification),
    files: files)
  try json.refuseOthers()
  return manifest
}

private func readExporter(_ json: JsonFields) throws -> Manifest.Exporter {
  let exporter = Manifest.Exporter(name: try json.string("name"), version: try json.string("version"))
  try json.refuseOthers()
  return exporter
}

private func readModel(_ json: JsonFields) throws -> Manifest.ModelInfo {
  let sizes = try json.fields("shape")
  for size in shape { _ = try sizes.int(size, atLeast: 1) }
  let model = Manifest.ModelInfo(
    id: try json.string("id"), revision: try json.stringOrNull("revision"), license: try json.stringOrNull("license"),
    parameters: try json.int64("parameters", atLeast: 1), vocabSize: try sizes.int("vocab_size", atLeast: 1))
  if model.id.isEmpty { throw json.wrong("id", "a name") }
  try json.refuseOthers()
  return model
}

/// `minRuntime` is the key, which format 1 spelled otherwise.
private func readBackend(_ json: JsonFields, _ minRuntime: String) throws -> Manifest.BackendInfo {
  let name = try json.string("name")
  guard let first = name.utf8.first, isLowercase(first),
    name.utf8.allSatisfy({ isLowercase($0) || isDigit($0) || $0 == UInt8(ascii: "_") })
  else { throw json.wrong("name", "lower-case letters") }
  let backend = Manifest.BackendInfo(
    name: name, target: try json.stringOrNull("target"), compiledWith: try json.stringMap("compiled_with"),
    minRuntime: try json.stringMap(minRuntime))
  try json.refuseOthers()
  return backend
}

/// Other keys are allowed: exporters say more from version to version.
private func readQuantization(_ json: JsonFields) throws -> String {
  _ = try json.string("activations")
  if !["weights", "learned", "checkpoint"].contains(try json.string("scales")) {
    throw json.wrong("scales", "weights, learned or checkpoint")
  }
  if !["int8", "fp16", "fp32"].contains(try json.string("kv_cache")) {
    throw json.wrong("kv_cache", "int8, fp16 or fp32")
  }
  return try json.string("scheme")
}

private func readTokenizer(
  _ json: JsonFields, _ files: [String: Manifest.FileEntry]
) throws -> Manifest.TokenizerInfo {
  let tokenizer = Manifest.TokenizerInfo(
    files: try json.strings("files"), bosId: try json.int("bos_id", atLeast: 0),
    eosIds: try json.ints("eos_ids", atLeast: 0), addBos: try json.bool("add_bos"),
    normalization: try json.ifThere("normalization") { try json.oneOf($0) },
    answerStrip: try json.ifThere("answer_strip", json.nonEmptyString))
  try tokenizer.files.forEach(checkName)
  if tokenizer.files.isEmpty || !tokenizer.files.allSatisfy({ files[$0] != nil }) {
    throw json.wrong("files", "names that are in `files`")
  }
  if tokenizer.eosIds.isEmpty { throw json.wrong("eos_ids", "at least one id") }
  try json.refuseOthers()
  return tokenizer
}

extension ChatFormat {
  /// `chat` of a manifest.
  init(_ json: JsonFields) throws {
    self.init(
      bos: try json.string("bos"), systemPrefix: try json.stringOrNull("system_prefix"),
      systemSuffix: try json.stringOrNull("system_suffix"), userPrefix: try json.string("user_prefix"),
      userSuffix: try json.string("user_suffix"), assistantPrefix: try json.string("assistant_prefix"),
      assistantSuffix: try json.string("assistant_suffix"), defaultSystem: try json.stringOrNull("default_system"),
      trim: try json.bool("trim"), stop: try json.nonEmptyStrings("stop"),
      generationPrompt: try json.ifThere("generation_prompt", json.string),
      reasoningEnd: try json.ifThere("reasoning_end", json.nonEmptyString),
      reasoningTrim: try json.ifThere("reasoning_trim") { try json.oneOf($0) },
      answerTrimStart: try json.ifThere("answer_trim_start") { try json.oneOf($0) },
      answerTrimEnd: try json.ifThere("answer_trim_end") { try json.oneOf($0) })
    try json.refuseOthers()
  }
}

extension JsonFields {
  fileprivate func nonEmptyString(_ key: String) throws -> String {
    let value = try string(key)
    if value.isEmpty { throw wrong(key, "a text that is not empty") }
    return value
  }

  fileprivate func nonEmptyStrings(_ key: String) throws -> [String] {
    let values = try strings(key)
    if values.contains(where: \.isEmpty) { throw wrong(key, "texts that are not empty") }
    return values
  }
}

/// Other keys are allowed: exporters compare more from version to version.
private func readVerification(_ json: JsonFields) throws -> Manifest.Verification {
  Manifest.Verification(
    passed: try json.bool("passed"), tokens: json.has("tokens") ? try json.int("tokens", atLeast: 0) : 0,
    checks: json.has("checks") ? try json.list("checks").map(readCheck) : [])
}

private func readCheck(_ json: JsonFields) throws -> Manifest.Verification.Check {
  Manifest.Verification.Check(
    name: try json.string("name"), passed: try json.bool("passed"), detail: try json.string("detail"))
}

private func readFiles(_ json: JsonFields) throws -> [String: Manifest.FileEntry] {
  try json.keys.forEach(checkName)
  for name in neededFiles where !json.has(name) { throw JsonError("files", "\(name) is missing") }
  var files: [String: Manifest.FileEntry] = [:]
  for name in json.keys {
    let entry = try json.fields(name)
    let file = Manifest.FileEntry(bytes: try entry.int64("bytes", atLeast: 0), sha256: try entry.string("sha256"))
    guard file.sha256.utf8.count == 64,
      file.sha256.utf8.allSatisfy({ isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) })
    else { throw entry.wrong("sha256", "64 hexadecimal digits") }
    try entry.refuseOthers()
    files[name] = file
  }
  return files
}

/// Throws for a name that is more than a plain file name: it must not lead out of the bundle's folder.
private func checkName(_ name: String) throws {
  let bytes = Array(name.utf8)
  let isPlain = bytes.allSatisfy {
    isLowercase($0 | 0x20) || isDigit($0) || [0x5F, 0x2E, 0x2D].contains($0)  // _ . -
  }
  guard let first = bytes.first, isPlain, first != 0x2E, first != 0x2D, !name.contains(".."), name != "manifest.json"
  else { throw BundleError(.badName, name.scalars(200)) }
}

private func isLowercase(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }
private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
