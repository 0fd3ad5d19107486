import Foundation

extension BenchResult {
  /// As mlp_export/data/device_bench.schema.json has it.
  var json: Json {
    [
      "format": 1,
      "id": .string(id),
      "status": .string(status.rawValue),
      "progress": ["done": .number(done), "total": .number(total), "stage": .string(stage)],
      "error": failure?.json ?? .null,
      "plan": plan?.json ?? .null,
      "skipped": .array(skipped.map(Json.number)),
      "app": ["id": .string(host.appId), "version": .string(host.appVersion), "runtimes": host.runtimesJson],
      "device": host.deviceJson,
      "bundle": bundle.map(describe) ?? .null,
      "threads": .number(threads),
      "load_s": .number(loadSeconds),
      "resident_bytes": .number(residentBytes),
      "runs": .array(runs.map(\.json)),
      "sustained": sustained?.json ?? .null,
    ]
  }

  /// Writes `ID.json` into `folder`: the old one or the new one is there at any time, never a part.
  func write(to folder: URL) throws {
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      let file = folder.appendingPathComponent("\(id).json")
      try Data((json.encoded() + "\n").utf8).write(to: file, options: .atomic)
    } catch {
      throw StorageError(error)
    }
  }
}

private func describe(_ bundle: ModelBundle) -> Json {
  let manifest = bundle.manifest
  return [
    "name": .string(bundle.name),
    "model_id": .string(manifest.model.id),
    "backend": .string(manifest.backend.name),
    "target": .text(manifest.backend.target),
    "context": .number(manifest.context),
    "prefill_chunk": .number(manifest.prefillChunk),
    "pte_sha256": .text(manifest.files[bundle.pte.lastPathComponent]?.sha256),
  ]
}

extension BenchFailure {
  fileprivate var json: Json { ["kind": .string(kind), "code": .number(code), "message": .string(message)] }
}

extension BenchHost {
  fileprivate var runtimesJson: Json {
    var object = JsonObject()
    for (name, version) in runtimes.sorted(by: { $0.key < $1.key }) { object[name] = .string(version) }
    return .object(object)
  }

  fileprivate var deviceJson: Json {
    [
      "manufacturer": "Apple",
      "model": .string(model),
      "soc_model": nil,  // iOS does not say it
      "abi": .string(abi),
      "ios": .string(ios),
      "simulator": .bool(isSimulator),
      "cores": .number(cores),
      "total_memory_bytes": .number(totalMemoryBytes),
    ]
  }
}

extension BenchRun {
  fileprivate var json: Json {
    [
      "prompt_tokens": .number(promptTokens),
      "wanted_tokens": .number(wantedTokens),
      "repetition": .number(repetition),
      "prefill_s": .number(prefillSeconds),
      "decode_tokens": .number(decodeTokens),
      "decode_s": .number(decodeSeconds),
      "thermal": .string(thermal),
    ]
  }
}

extension BenchSustained {
  fileprivate var json: Json {
    [
      "seconds": .number(seconds),
      "prompt_tokens": .number(promptTokens),
      "samples": .array(samples.map(\.json)),
    ]
  }
}

extension BenchSample {
  fileprivate var json: Json {
    [
      "at_s": .number(atSeconds),
      "prefill_tok_s": .number(prefillTokensPerSecond),
      "decode_tok_s": .number(decodeTokensPerSecond),
      "thermal": .string(thermal),
      "headroom": nil,  // Android's alone
    ]
  }
}
