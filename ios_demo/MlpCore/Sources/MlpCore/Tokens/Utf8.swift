/// Scalars in bytes of UTF-8. Tokenizers work on bytes: String has no fast index, and takes CR LF for one character.
enum Utf8 {
  /// The scalar that begins at `at` of valid UTF-8.
  @inline(__always)
  static func scalar(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> UInt32 {
    let first = UInt32(bytes[at])
    if first < 0x80 { return first }
    if first < 0xE0 { return (first & 0x1F) << 6 | tail(bytes, at + 1) }
    if first < 0xF0 { return (first & 0x0F) << 12 | tail(bytes, at + 1) << 6 | tail(bytes, at + 2) }
    return (first & 0x07) << 18 | tail(bytes, at + 1) << 12 | tail(bytes, at + 2) << 6 | tail(bytes, at + 3)
  }

  @inline(__always)
  private static func tail(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> UInt32 { UInt32(bytes[at] & 0x3F) }

  /// Bytes of the scalar that begins with `first`, in valid UTF-8.
  @inline(__always)
  static func length(_ first: UInt8) -> Int { first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4 }

  /// Where the scalar before `at` begins, in valid UTF-8.
  @inline(__always)
  static func before(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> Int {
    var start = at - 1
    while bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return start
  }

  static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
    switch scalar {
    case ..<0x80: bytes.append(UInt8(scalar))
    case ..<0x800: bytes += [UInt8(0xC0 | scalar >> 6), UInt8(0x80 | scalar & 0x3F)]
    case ..<0x10000:
      bytes += [UInt8(0xE0 | scalar >> 12), UInt8(0x80 | scalar >> 6 & 0x3F), UInt8(0x80 | scalar & 0x3F)]
    default:
      bytes += [UInt8(0xF0 | scalar >> 18), UInt8(0x80 | scalar >> 12 & 0x3F)]
      bytes += [UInt8(0x80 | scalar >> 6 & 0x3F), UInt8(0x80 | scalar & 0x3F)]
    }
  }

  /// Where the first sequence begins that is no UTF-8, of shortest form and without surrogates; nil where all is well.
  static func firstInvalid(_ bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    var at = 0
    while at < bytes.count {
      guard let length = validLength(bytes, at) else { return at }
      at += length
    }
    return nil
  }

  /// What follows `first` in a sequence of two bytes or more; nil where it begins none. Unicode's table 3-7.
  static func secondBytes(after first: UInt8) -> ClosedRange<UInt8>? {
    switch first {
    case 0xE0: 0xA0...0xBF
    case 0xED: 0x80...0x9F
    case 0xF0: 0x90...0xBF
    case 0xF4: 0x80...0x8F
    case 0xC2...0xF3: 0x80...0xBF
    default: nil
    }
  }

  /// Bytes of the valid sequence that begins at `at`; nil where there is none.
  private static func validLength(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> Int? {
    if bytes[at] < 0x80 { return 1 }
    let length = length(bytes[at])
    guard let second = secondBytes(after: bytes[at]), at + length <= bytes.count, second.contains(bytes[at + 1]) else {
      return nil
    }
    for next in at + 2..<max(at + length, at + 2) where bytes[next] & 0xC0 != 0x80 { return nil }
    return length
  }
}
