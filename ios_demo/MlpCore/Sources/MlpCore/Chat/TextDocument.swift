import Foundation

/// What a file that is opened as text turned out to be.
public enum TextDocument: Equatable, Sendable {
  /// Without a byte order mark, and with line ends of one character.
  case text(String)
  /// `position` is the byte where it was seen, or the size in bytes for `tooBig`.
  case refused(Problem, position: Int)

  public enum Problem: Sendable { case empty, tooBig, utf16, binary, notUtf8 }

  /// Far above what any context holds: about 2 million tokens.
  public static let mostBytes = 8 << 20

  /// A text of more bytes does not fit `context` tokens: known without counting, which takes memory.
  public static func mostBytes(context: Int) -> Int {
    // 64 bytes are more than a token has on average, even in runs of spaces or dashes.
    context >= mostBytes / 64 ? mostBytes : 64 * context
  }

  /// `data` as text; only UTF-8 is taken, as a guess at another encoding would go to the model unseen.
  public static func read(_ data: Data, mostBytes: Int = mostBytes) -> TextDocument {
    if data.count > mostBytes { return .refused(.tooBig, position: data.count) }
    let bytes = [UInt8](data)
    if bytes.starts(with: [0xFE, 0xFF]) || bytes.starts(with: [0xFF, 0xFE]) { return .refused(.utf16, position: 0) }
    if let control = bytes.firstIndex(where: { $0 < 32 && !isTextControl($0) }) {
      return .refused(isUtf16WithoutMark(bytes) ? .utf16 : .binary, position: control)
    }
    if let invalid = bytes.withUnsafeBufferPointer(Utf8.firstInvalid) { return .refused(.notUtf8, position: invalid) }
    let plain = String(decoding: withPlainLineEnds(bytes), as: UTF8.self)
    return plain.isBlank ? .refused(.empty, position: 0) : .text(plain)
  }

  /// Tab, line feed, form feed, carriage return, escape.
  private static func isTextControl(_ byte: UInt8) -> Bool { [9, 10, 12, 13, 27].contains(byte) }

  private static func withPlainLineEnds(_ bytes: [UInt8]) -> [UInt8] {
    let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    var last: UInt8 = 0
    for byte in bytes.dropFirst(bytes.starts(with: mark) ? mark.count : 0) {
      if byte == 13 {
        result.append(10)
      } else if byte != 10 || last != 13 {
        result.append(byte)
      }
      last = byte
    }
    return result
  }

  /// Whether nearly every second byte of the beginning is 0, as in UTF-16 of European text.
  private static func isUtf16WithoutMark(_ bytes: [UInt8]) -> Bool {
    let pairs = min(bytes.count, 4096) / 2
    if pairs < 2 { return false }
    var zeros = [0, 0]
    for index in 0..<pairs * 2 where bytes[index] == 0 { zeros[index % 2] += 1 }
    let (most, least) = (max(zeros[0], zeros[1]), min(zeros[0], zeros[1]))
    return most * 10 >= pairs * 9 && least * 10 <= pairs
  }
}
