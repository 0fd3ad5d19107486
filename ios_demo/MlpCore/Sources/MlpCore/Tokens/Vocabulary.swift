/// Spelling of a token -> its id, in flat arrays: a dictionary of strings would take ten times the memory of 200k tokens.
struct Vocabulary: Sendable {
  private var bytes: [UInt8] = []
  private var ends: [Int32] = []  // of token n in `bytes`
  private var ids: [Int32] = []
  private var table = [Int32](repeating: 0, count: 1 << 13)  // n + 1 by hash, 0: free

  var count: Int { ids.count }

  /// Of the same spelling, the last id counts.
  mutating func put(_ spelling: [UInt8], _ id: Int) {
    let slot = spelling.withUnsafeBufferPointer { self.slot($0) }
    if table[slot] != 0 {
      ids[Int(table[slot]) - 1] = Int32(id)
      return
    }
    bytes += spelling
    ends.append(Int32(bytes.count))
    ids.append(Int32(id))
    table[slot] = Int32(ids.count)
    if ids.count * 2 > table.count { grow() }
  }

  /// nil where there is no such token.
  func id(_ spelling: UnsafeBufferPointer<UInt8>) -> Int? {
    let found = table[slot(spelling)]
    return found == 0 ? nil : Int(ids[Int(found) - 1])
  }

  func id(_ spelling: some Collection<UInt8>) -> Int? {
    spelling.withContiguousStorageIfAvailable(id) ?? Array(spelling).withUnsafeBufferPointer(id)
  }

  func id(_ spelling: String) -> Int? { id(Array(spelling.utf8)) }

  private func slot(_ spelling: UnsafeBufferPointer<UInt8>) -> Int {
    var hash: UInt32 = 1
    for byte in spelling { hash = hash &* 31 &+ UInt32(byte) }
    var slot = spread(hash, table.count)
    while table[slot] != 0, !isAt(Int(table[slot]) - 1, spelling) { slot = (slot + 1) & (table.count - 1) }
    return slot
  }

  private func isAt(_ index: Int, _ spelling: UnsafeBufferPointer<UInt8>) -> Bool {
    let start = start(index)
    guard Int(ends[index]) - start == spelling.count else { return false }
    for offset in 0..<spelling.count where bytes[start + offset] != spelling[offset] { return false }
    return true
  }

  private func start(_ index: Int) -> Int { index == 0 ? 0 : Int(ends[index - 1]) }

  private mutating func grow() {
    table = [Int32](repeating: 0, count: table.count * 2)
    for index in 0..<ids.count {
      let free = bytes[start(index)..<Int(ends[index])].withUnsafeBufferPointer { slot($0) }
      table[free] = Int32(index + 1)
    }
  }
}

/// A place in a table of `count`, a power of two, of which the low bits of a hash would fill a part only.
func spread(_ hash: UInt32, _ count: Int) -> Int {
  let mixed = hash &* 0x9E37_79B9
  return Int(mixed ^ mixed >> 15) & (count - 1)
}
