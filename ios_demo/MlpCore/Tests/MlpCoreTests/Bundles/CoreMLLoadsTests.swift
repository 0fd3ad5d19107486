import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

final class CoreMLLoadsTests: XCTestCase {
  private func loads(_ caches: URL, system: String = "18.5", free: Int64? = nil) -> CoreMLLoads {
    CoreMLLoads(caches: caches, systemVersion: system) { free }
  }

  private func compile(_ caches: URL) throws {
    try FileManager.default.createDirectory(
      at: caches.appendingPathComponent("executorchcoreml/models/1.mlmodelc"), withIntermediateDirectories: true)
  }

  func testFirstLoadCompilesAndLaterOnesDoNot() throws {
    let caches = try temporaryFolder(of: self)
    let root = try temporaryFolder(of: self)
    let bundle = try writeBundle(manifest(backend: "coreml", target: "cpu_and_ne"), in: root)
    XCTAssertTrue(loads(caches).compiles(bundle))
    loads(caches).loaded(bundle)
    XCTAssertTrue(loads(caches).compiles(bundle), "the system emptied the caches")
    try compile(caches)
    XCTAssertFalse(loads(caches).compiles(bundle))
    XCTAssertTrue(loads(caches, system: "18.6").compiles(bundle))
    let other = try writeBundle(
      manifest(backend: "coreml"), in: root, name: "other",
      contents: ["model.pte": "another", "tokenizer.json": "{}", "LICENSE": "MIT"])
    XCTAssertTrue(loads(caches).compiles(other))
    XCTAssertFalse(loads(caches).compiles(try writeBundle(in: root, name: "cpu")))
  }

  func testNoRoomToCompileIsSaidBeforeTheLoad() throws {
    let caches = try temporaryFolder(of: self)
    let root = try temporaryFolder(of: self)
    let bundle = try writeBundle(manifest(backend: "coreml"), in: root)
    XCTAssertThrowsError(try loads(caches, free: 17).checkRoom(for: bundle)) {
      XCTAssertEqual(NoSpaceError(needed: 18, free: 17, purpose: .compile), $0 as? NoSpaceError)
    }
    XCTAssertNoThrow(try loads(caches, free: 18).checkRoom(for: bundle))
    XCTAssertNoThrow(try loads(caches, free: nil).checkRoom(for: bundle))
    XCTAssertNoThrow(try loads(caches, free: 0).checkRoom(for: writeBundle(in: root, name: "cpu")))
    try compile(caches)
    loads(caches).loaded(bundle)
    XCTAssertNoThrow(try loads(caches, free: 0).checkRoom(for: bundle), "compiled already")
  }

  func testOnlyALoadThatWentWellIsKnown() throws {
    let caches = try temporaryFolder(of: self)
    try compile(caches)
    let bundle = try writeBundle(manifest(backend: "coreml"), in: temporaryFolder(of: self))
    let engine = LoadingEngine()
    engine.fails = true
    let watched = try loads(caches).watch { _ in engine }(bundle)
    XCTAssertThrowsError(try watched.load())
    XCTAssertTrue(loads(caches).compiles(bundle))
    engine.fails = false
    try watched.load()
    XCTAssertFalse(loads(caches).compiles(bundle))
    try watched.prefill("a")
    _ = try watched.generate("b", maxNewTokens: 3, temperature: 0.5) { _ in }
    watched.stop()
    try watched.reset()
    watched.close()
    XCTAssertEqual(["load", "load", "prefill a", "generate b 3 0.5", "stop", "reset", "close"], engine.calls)
    XCTAssertThrowsError(try loads(caches, system: "19", free: 1).watch { _ in engine }(bundle)) {
      XCTAssertTrue($0 is NoSpaceError)
    }
  }
}

private final class LoadingEngine: Engine, @unchecked Sendable {
  var fails = false
  var calls: [String] = []

  func load() throws {
    calls.append("load")
    if fails { throw EngineError(EngineFailure(kind: .wrongDelegate, code: 0x23, detail: "")) }
  }
  func prefill(_ text: String) throws { calls.append("prefill \(text)") }
  func generate(
    _ text: String, maxNewTokens: Int, temperature: Double, onPiece: @escaping (String) -> Void
  ) throws -> EngineStats {
    calls.append("generate \(text) \(maxNewTokens) \(temperature)")
    return EngineStats(generatedTokens: 0, prefillSeconds: 0, decodeSeconds: 0)
  }
  func stop() { calls.append("stop") }
  func reset() throws { calls.append("reset") }
  func close() { calls.append("close") }
}
