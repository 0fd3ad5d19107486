/// The merges of one word. Throws `UnknownTokenizer` for a model that is not known.
struct BpeModel: Sendable {
  private let vocabulary: Vocabulary
  private let merges: Merges
  private let takesWholeWords: Bool
  private let fallsBackToBytes: Bool
  private let joinsUnknown: Bool
  private let unknown: Int?
  private let byteIds: [Int?]

  init(_ file: TokenizerFile) throws {
    let fields = JsonFields(file.model, path: "model")
    let type = fields.has("type") ? try fields.string("type") : "BPE"
    if type != "BPE" { throw UnknownTokenizer("the model \(type) is not known") }
    if file.vocabulary.count == 0 { throw UnknownTokenizer("there is no vocabulary") }
    for name in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
      guard let value = file.model[name], ![.null, "", 0].contains(value) else { continue }
      throw UnknownTokenizer("\(name) is \(value.encoded()), which is not known")
    }
    vocabulary = file.vocabulary
    merges = file.merges
    takesWholeWords = try fields.flag("ignore_merges", or: false)
    fallsBackToBytes = try fields.flag("byte_fallback", or: false)
    joinsUnknown = try fields.flag("fuse_unk", or: false)
    let unknownToken = fields.has("unk_token") ? try fields.stringOrNull("unk_token") : nil
    unknown = unknownToken.flatMap(file.vocabulary.id)
    byteIds = (0..<256).map { file.vocabulary.id("<0x\($0 < 16 ? "0" : "")\(String($0, radix: 16, uppercase: true))>") }
  }

  func encode(_ word: ArraySlice<UInt8>) -> [Int] {
    if takesWholeWords, let id = vocabulary.id(word) { return [id] }
    return word.withUnsafeBufferPointer { merge(characters($0)) }
  }

  private func characters(_ word: UnsafeBufferPointer<UInt8>) -> [Int] {
    var ids: [Int] = []
    ids.reserveCapacity(word.count)
    var lastIsUnknown = false
    var at = 0
    while at < word.count {
      let character = UnsafeBufferPointer(rebasing: word[at..<at + Utf8.length(word[at])])
      at += character.count
      if let id = vocabulary.id(character) {
        ids.append(id)
        lastIsUnknown = false
      } else if let bytes = fallback(character) {
        ids += bytes
        lastIsUnknown = false
      } else {
        if let unknown, !(joinsUnknown && lastIsUnknown) { ids.append(unknown) }
        lastIsUnknown = true
      }
    }
    return ids
  }

  /// nil where not each byte of `character` has a token.
  private func fallback(_ character: UnsafeBufferPointer<UInt8>) -> [Int]? {
    guard fallsBackToBytes else { return nil }
    let ids = character.compactMap { byteIds[Int($0)] }
    return ids.count == character.count ? ids : nil
  }

  /// Merges the pair of the lowest rank, of equal ones the leftmost, until none is left.
  private func merge(_ characters: [Int]) -> [Int] {
    let count = characters.count
    if count < 2 { return characters }
    var ids = characters  // -1: merged into the one before
    var next = Array(1...count)
    var previous = Array(-1..<count - 1)
    var queue = MinHeap()

    func push(_ left: Int) {
      guard next[left] < count, let merge = merges.find(ids[left], ids[next[left]]) else { return }
      queue.push(merge.rank << 32 | left)
    }
    for left in 0..<count - 1 { push(left) }
    while let top = queue.pop() {
      let left = top & 0xFFFF_FFFF
      // What was queued may have been merged otherwise meanwhile.
      guard ids[left] >= 0, next[left] < count else { continue }
      let right = next[left]
      guard let merge = merges.find(ids[left], ids[right]), merge.rank == top >> 32 else { continue }
      ids[left] = merge.result
      ids[right] = -1
      next[left] = next[right]
      if next[right] < count { previous[next[right]] = left }
      if previous[left] >= 0 { push(previous[left]) }
      push(left)
    }
    return ids.filter { $0 >= 0 }
  }
}

/// Gives the smallest of its numbers first.
struct MinHeap {
  private var values: [Int] = []

  mutating func push(_ value: Int) {
    var at = values.count
    values.append(value)
    while at > 0, values[(at - 1) / 2] > value {
      values[at] = values[(at - 1) / 2]
      at = (at - 1) / 2
    }
    values[at] = value
  }

  mutating func pop() -> Int? {
    guard let top = values.first, let value = values.popLast() else { return nil }
    if values.isEmpty { return top }
    var at = 0
    while true {
      var child = 2 * at + 1
      if child + 1 < values.count, values[child + 1] < values[child] { child += 1 }
      guard child < values.count, values[child] < value else { break }
      values[at] = values[child]
      at = child
    }
    values[at] = value
    return top
  }
}
