import XCTest

/// Fails where the texts differ in a byte: `String` takes composed and decomposed characters for the same.
func assertBytes(
  _ text: String, _ expected: String, _ message: String = "", file: StaticString = #filePath, line: UInt = #line
) {
  let difference = "\(message): \(text) is not \(expected)"
  XCTAssertEqual(Array(text.utf8), Array(expected.utf8), difference, file: file, line: line)
}

/// The error of kind `E` that `call` throws; fails where it throws none, or another.
func thrown<E: Error>(
  _ kind: E.Type, file: StaticString = #filePath, line: UInt = #line, _ call: () throws -> some Any
) -> E? {
  do {
    _ = try call()
    XCTFail("nothing was thrown", file: file, line: line)
  } catch let error as E {
    return error
  } catch {
    XCTFail("threw \(error)", file: file, line: line)
  }
  return nil
}
