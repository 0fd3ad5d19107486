import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

/// A folder with tokenizer.json files, gone when the test ends.
final class TokenizerFiles {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)

  init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

  deinit { try? FileManager.default.removeItem(at: folder) }

  func open(_ content: String) throws -> Tokenizer { try open(Data(content.utf8)) }

  func open(_ content: Data) throws -> Tokenizer {
    let file = folder.appendingPathComponent("tokenizer.json")
    try content.write(to: file)
    return openTokenizer(file)
  }

  /// The tokenizer `name` of tests/vectors/tokenizers.json, as its text.
  static func known(_ name: String) throws -> String {
    try vectors("tokenizers.json").fields("tokenizers").string(name)
  }
}
