/// Whether version `found` comes before `oldest`, by their first three numbers: "1.3.1", "1.5.0a0+cpu", "v2.49.40.2608".
func isOlder(_ found: String, than oldest: String) -> Bool {
  let (a, b) = (versionNumbers(found), versionNumbers(oldest))
  return a.lexicographicallyPrecedes(b)
}

/// Three numbers: those that a version begins with, and 0 for those that it lacks.
private func versionNumbers(_ version: String) -> [UInt64] {
  var bytes = Substring(version).utf8
  if bytes.first == UInt8(ascii: "v") { bytes.removeFirst() }
  var numbers: [UInt64] = []
  while numbers.count < 3 {
    let digits = bytes.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    if digits.isEmpty { break }
    numbers.append(UInt64(Substring(digits)) ?? .max)
    bytes = bytes.dropFirst(digits.count)
    guard bytes.first == UInt8(ascii: ".") else { break }
    bytes.removeFirst()
  }
  return numbers + Array(repeating: 0, count: 3 - numbers.count)
}
