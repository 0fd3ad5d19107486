/// A tokenizer.json that says something that is not known here.
struct UnknownTokenizer: Error, Equatable {
  var what: String

  init(_ what: String) { self.what = what }
}

/// What a `tokenizer.json` says. Vocabulary and merges never are a tree of values.
struct TokenizerFile {
  private(set) var added: [AddedToken] = []
  private(set) var normalizer = Json.null
  private(set) var preTokenizer = Json.null
  private(set) var model = JsonObject()  // but for vocabulary and merges
  private(set) var vocabulary = Vocabulary()
  private(set) var merges = Merges()

  /// Throws `JsonError` and `UnknownTokenizer`; keeps what was read until then.
  mutating func read(_ bytes: UnsafeBufferPointer<UInt8>) throws {
    if let invalid = Utf8.firstInvalid(bytes) { throw JsonError("", "byte \(invalid) is not UTF-8") }
    var scanner = JsonScanner(bytes)
    try scanner.object { scanner, key in
      switch String(decoding: key, as: UTF8.self) {
      case "added_tokens": added = try Self.addedTokens(scanner.value())
      case "normalizer": normalizer = try scanner.value()
      case "pre_tokenizer": preTokenizer = try scanner.value()
      case "model": try readModel(&scanner)
      default: try scanner.skip()
      }
    }
    try scanner.end()
  }

  private static func addedTokens(_ json: Json) throws -> [AddedToken] {
    try JsonFields(["added_tokens": json]).list("added_tokens").map(AddedToken.init)
  }

  private mutating func readModel(_ scanner: inout JsonScanner) throws {
    var waiting: JsonScanner?
    try scanner.object { scanner, key in
      switch String(decoding: key, as: UTF8.self) {
      case "vocab": try readVocabulary(&scanner)
      case "merges":
        // Merges are ids here, so they wait where the vocabulary comes after them.
        if vocabulary.count > 0 {
          try readMerges(&scanner)
        } else {
          waiting = scanner
          try scanner.skip()
        }
      case let name: model[name] = try scanner.value()
      }
    }
    if var merges = waiting { try readMerges(&merges) }
  }

  private mutating func readVocabulary(_ scanner: inout JsonScanner) throws {
    guard try scanner.kind() == .object else { throw UnknownTokenizer("the vocabulary is no object") }
    try scanner.object { scanner, token in vocabulary.put(token, try scanner.int()) }
  }

  /// Merges are pairs, or in older files texts with a space between the two.
  private mutating func readMerges(_ scanner: inout JsonScanner) throws {
    var pair: [UInt8] = []
    try scanner.array { scanner in
      pair.removeAll(keepingCapacity: true)
      var middle = 0
      if try scanner.kind() == .string {
        try scanner.string(into: &pair)
        middle = pair.firstIndex(of: 0x20) ?? pair.count
        if middle < pair.count { pair.remove(at: middle) }
      } else {
        var count = 0
        try scanner.array { scanner in
          if count == 1 { middle = pair.count }
          count += 1
          try scanner.string(into: &pair)
        }
        if count != 2 { throw UnknownTokenizer("a merge of \(count) tokens is not known") }
      }
      try addMerge(pair, middle)
    }
  }

  /// `pair` is both tokens, the second from `middle` on.
  private mutating func addMerge(_ pair: [UInt8], _ middle: Int) throws {
    guard let left = vocabulary.id(pair[..<middle]), let right = vocabulary.id(pair[middle...]),
      let merged = vocabulary.id(pair)
    else {
      let (left, right) = (
        String(decoding: pair[..<middle], as: UTF8.self), String(decoding: pair[middle...], as: UTF8.self)
      )
      throw UnknownTokenizer("merge \(left) \(right) is not in the vocabulary")
    }
    merges.add(left, right, merged)
  }
}
