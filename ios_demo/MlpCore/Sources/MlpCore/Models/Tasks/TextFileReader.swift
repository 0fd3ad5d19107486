import Foundation

/// A file that was read as text.
public struct TextFile: Equatable, Sendable {
  public var name: String
  public var text: String
}

/// Why a text was not taken: what was found and what to do.
public struct Refusal: Error, Equatable {
  public var sentence: String

  public init(_ sentence: String) { self.sentence = sentence }
}

/// Reads files of other apps as text; blocks.
struct TextFileReader {
  let access: any FileAccess

  /// The file at `url`, of which no more is read than `context` tokens may have.
  func read(_ url: URL, context: Int) -> Result<TextFile, Refusal> {
    let name = url.lastPathComponent
    let most = TextDocument.mostBytes(context: context)
    let data: Data
    do {
      data = try access.withAccess(to: [url]) { try access.read(url) { try bytes($0, most + 1) } }
    } catch {
      return .failure(unreadable(name, error))
    }
    switch TextDocument.read(data, mostBytes: most) {
    case .text(let text): return .success(TextFile(name: name, text: text))
    case .refused(let problem, let position):
      return .failure(Refusal(refusal(problem, position, name: name, mostBytes: most)))
    }
  }

  private func bytes(_ url: URL, _ most: Int) throws -> Data {
    let handle = try FileHandle(forReadingFrom: url)
    defer { try? handle.close() }
    return try handle.read(upToCount: most) ?? Data()
  }

  private func unreadable(_ name: String, _ error: any Error) -> Refusal {
    switch SystemProblem(error as NSError) {
    case .notAllowed: Refusal(text("document.notAllowed", name))
    case .offline: Refusal(text("document.offline", name))
    default: Refusal(text("document.unreadable", name, (error as NSError).localizedDescription))
    }
  }
}

/// Why the text named `name` was not taken.
func refusal(_ problem: TextDocument.Problem, _ position: Int, name: String, mostBytes: Int) -> String {
  switch problem {
  case .empty: text("document.empty", name)
  case .tooBig: text("document.tooBig", name, formattedSize(Int64(mostBytes)))
  case .utf16: text("document.utf16", name)
  case .binary: text("document.binary", name, formatted(position))
  case .notUtf8: text("document.notUtf8", name, formatted(position))
  }
}
