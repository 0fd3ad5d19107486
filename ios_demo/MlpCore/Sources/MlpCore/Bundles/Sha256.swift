import Foundation

#if canImport(CryptoKit)
  import CryptoKit
#endif

/// A file could not be read; `reason` is the system's.
struct FileError: Error {
  var reason: String

  /// Of the system call that failed last on this thread.
  static var last: FileError { FileError(reason: String(cString: strerror(errno))) }
}

/// The file's sha256 in hexadecimal; `progress` gets the number of bytes of each step, and what it throws ends this.
/// Throws `FileError`.
func sha256(of file: URL, progress: (Int) throws -> Void = { _ in }) throws -> String {
  let descriptor = open(file.path, O_RDONLY)
  guard descriptor >= 0 else { throw FileError.last }
  defer { close(descriptor) }
  var hash = Sha256()
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
  defer { buffer.deallocate() }
  while true {
    let count = read(descriptor, buffer.baseAddress, buffer.count)
    if count < 0 {
      if errno == EINTR { continue }
      throw FileError.last
    }
    if count == 0 { return hash.finish() }
    hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    try progress(count)
  }
}

/// Why `file` cannot be opened for reading; nil where it can.
func readingError(_ file: URL) -> FileError? {
  let descriptor = open(file.path, O_RDONLY)
  guard descriptor >= 0 else { return FileError.last }
  close(descriptor)
  return nil
}

/// The sha256 of `data` in hexadecimal.
public func sha256(of data: Data) -> String {
  var hash = Sha256()
  data.withUnsafeBytes { hash.update($0) }
  return hash.finish()
}

private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

#if canImport(CryptoKit)
  struct Sha256 {
    private var hash = SHA256()

    mutating func update(_ bytes: UnsafeRawBufferPointer) { hash.update(bufferPointer: bytes) }

    func finish() -> String { hexadecimal(hash.finalize()) }
  }
#else
  struct Sha256 {
    private var hash = PlainSha256()

    mutating func update(_ bytes: UnsafeRawBufferPointer) { hash.update(bytes) }

    mutating func finish() -> String { hexadecimal(hash.finish()) }
  }
#endif
