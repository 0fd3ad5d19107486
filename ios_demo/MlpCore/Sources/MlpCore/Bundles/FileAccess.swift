import Foundation

/// How files outside the app are read. Apple's has security scopes and file coordination, so that a file provider
/// downloads what is not on the device yet; tests have their own. Any thread may call it.
public protocol FileAccess: Sendable {
  /// Runs `body` while the app may read `urls`, which the system's picker gave.
  func withAccess<T>(to urls: [URL], _ body: () throws -> T) throws -> T

  /// Runs `body` with a place from which the content of `url` can be read; waits for a provider. Throws what the
  /// provider says, such as that it is offline.
  func read<T>(_ url: URL, _ body: (URL) throws -> T) throws -> T

  /// Ends a `read` that waits for a provider; it then throws.
  func cancel()
}

/// Reads as it stands: files of the app itself.
public struct DirectAccess: FileAccess {
  public init() {}

  public func withAccess<T>(to urls: [URL], _ body: () throws -> T) throws -> T { try body() }

  public func read<T>(_ url: URL, _ body: (URL) throws -> T) throws -> T { try body(url) }

  public func cancel() {}
}
