import Foundation

/// Which Core ML programs were loaded on this system already. At the first load the delegate writes the model to the
/// app's caches and Core ML compiles it there, which takes minutes and room on the disk. Any thread.
public final class CoreMLLoads: Sendable {
  private let caches: URL
  private let systemVersion: String
  private let freeBytes: @Sendable () -> Int64?

  /// `caches`: the app's Library/Caches, in which the delegate's models lie. The system may empty it, and what is kept
  /// here with it.
  public init(caches: URL, systemVersion: String, freeBytes: @escaping @Sendable () -> Int64?) {
    self.caches = caches
    self.systemVersion = systemVersion
    self.freeBytes = freeBytes
  }

  /// Whether Core ML has to compile the program of `bundle` when it is loaded.
  public func compiles(_ bundle: ModelBundle) -> Bool {
    guard bundle.manifest.backend.name == "coreml" else { return false }
    return fileType(marker(bundle)) == nil || !hasCompiledModels
  }

  /// The model itself and what Core ML makes of it. Throws `NoSpaceError`.
  public func checkRoom(for bundle: ModelBundle) throws {
    guard compiles(bundle), let free = freeBytes() else { return }
    let needed = 2 * (bundle.manifest.files["model.pte"]?.bytes ?? 0)
    if free < needed { throw NoSpaceError(needed: needed, free: free, purpose: .compile) }
  }

  /// `bundle` was loaded.
  public func loaded(_ bundle: ModelBundle) {
    guard bundle.manifest.backend.name == "coreml" else { return }
    let marker = marker(bundle)
    try? FileManager.default.createDirectory(
      at: marker.deletingLastPathComponent(), withIntermediateDirectories: true)
    try? Data().write(to: marker)
  }

  /// `make`, which refuses a program that Core ML has no room to compile, and whose engines are known once they loaded.
  public func watch(_ make: @escaping EngineFactory) -> EngineFactory {
    { bundle in
      try self.checkRoom(for: bundle)
      return WatchedEngine(try make(bundle)) { self.loaded(bundle) }
    }
  }

  /// ETCoreMLStrings.mm of ExecuTorch 1.5.1 names this folder.
  private var hasCompiledModels: Bool {
    let folder = caches.appendingPathComponent("executorchcoreml/models")
    return !((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).isEmpty
  }

  private func marker(_ bundle: ModelBundle) -> URL {
    let hash = bundle.manifest.files["model.pte"]?.sha256 ?? ""
    return caches.appendingPathComponent("coreml-loads/\(hash)-\(systemVersion)")
  }
}

/// Tells of the first `load` that went well.
private final class WatchedEngine: Engine {
  private let engine: Engine
  private let loaded: @Sendable () -> Void

  init(_ engine: Engine, loaded: @escaping @Sendable () -> Void) {
    self.engine = engine
    self.loaded = loaded
  }

  func load() throws {
    try engine.load()
    loaded()
  }

  func prefill(_ text: String) throws { try engine.prefill(text) }

  func generate(
    _ text: String, maxNewTokens: Int, temperature: Double, onPiece: @escaping (String) -> Void
  ) throws -> EngineStats {
    try engine.generate(text, maxNewTokens: maxNewTokens, temperature: temperature, onPiece: onPiece)
  }

  func stop() { engine.stop() }

  func reset() throws { try engine.reset() }

  func close() { engine.close() }
}
