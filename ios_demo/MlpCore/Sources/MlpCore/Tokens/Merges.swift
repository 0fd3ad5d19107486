/// Pair of ids -> the rank of their merge, and the id of both merged.
struct Merges: Sendable {
  struct Merge: Sendable {
    var rank: Int
    var result: Int
  }

  private static let free: Int64 = -1

  private var keys = [Int64](repeating: free, count: 1 << 13)
  private var ranks = [Int32](repeating: 0, count: 1 << 13)
  private var results = [Int32](repeating: 0, count: 1 << 13)
  private var used = 0
  private var next: Int32 = 0

  /// Adds the merge of the next rank. Of the same pair, the last one counts.
  mutating func add(_ left: Int, _ right: Int, _ result: Int) {
    put(key(left, right), next, Int32(result))
    next += 1
    if used * 2 > keys.count { grow() }
  }

  /// nil where the two do not merge.
  func find(_ left: Int, _ right: Int) -> Merge? {
    let slot = slot(key(left, right))
    return keys[slot] == Self.free ? nil : Merge(rank: Int(ranks[slot]), result: Int(results[slot]))
  }

  private func key(_ left: Int, _ right: Int) -> Int64 { Int64(left) << 32 | Int64(right) }

  private func slot(_ key: Int64) -> Int {
    var slot = spread(UInt32(truncatingIfNeeded: key) &* 31 &+ UInt32(truncatingIfNeeded: key >> 32), keys.count)
    while keys[slot] != Self.free, keys[slot] != key { slot = (slot + 1) & (keys.count - 1) }
    return slot
  }

  private mutating func put(_ key: Int64, _ rank: Int32, _ result: Int32) {
    let slot = slot(key)
    if keys[slot] == Self.free { used += 1 }
    keys[slot] = key
    ranks[slot] = rank
    results[slot] = result
  }

  private mutating func grow() {
    let (oldKeys, oldRanks, oldResults) = (keys, ranks, results)
    keys = [Int64](repeating: Self.free, count: oldKeys.count * 2)
    ranks = [Int32](repeating: 0, count: keys.count)
    results = ranks
    used = 0
    for old in oldKeys.indices where oldKeys[old] != Self.free { put(oldKeys[old], oldRanks[old], oldResults[old]) }
  }
}
