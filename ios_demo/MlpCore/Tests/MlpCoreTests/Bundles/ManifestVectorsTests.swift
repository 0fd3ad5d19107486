import MlpFixtures
import XCTest

@testable import MlpCore

final class ManifestVectorsTests: XCTestCase {
  func testBundlesGoodAndBad() throws {
    let temporary = try TemporaryFolder()
    let cases = try vectorCases("manifests.json")
    XCTAssertGreaterThan(cases.count, 100)
    var good = 0
    for (index, vector) in cases.enumerated() {
      let name = try vector.string("name")
      let folder = try layOut(vector, temporary.url.appendingPathComponent("\(index)"))
      let problem = try vector.stringOrNull("problem")
      do {
        let bundle = try ModelBundle.open(folder)
        try bundle.checkHashes()
        XCTAssertNil(problem, name)
        XCTAssertEqual(bundle.manifest, try Manifest.parse(Json.object(try vector.fields("read").json).encoded()), name)
        good += 1
      } catch let error as BundleError {
        XCTAssertEqual(error.problem.rawValue, problem, "\(name): \(error.detail)")
      }
    }
    XCTAssertGreaterThan(good, 15)
  }

  private func layOut(_ vector: JsonFields, _ folder: URL) throws -> URL {
    let files = FileManager.default
    try files.createDirectory(at: folder, withIntermediateDirectories: true)
    if let text = try vector.stringOrNull("manifest") {
      try Data(text.utf8).write(to: folder.appendingPathComponent("manifest.json"))
    }
    for (name, text) in try vector.stringMap("files") {
      try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    }
    for (name, target) in try vector.stringMap("links") {
      try files.createSymbolicLink(
        atPath: folder.appendingPathComponent(name).path, withDestinationPath: target)
    }
    for name in try vector.strings("folders") {
      try files.createDirectory(at: folder.appendingPathComponent(name), withIntermediateDirectories: true)
    }
    return folder
  }

  func testEveryValueOfAManifest() throws {
    let text = try vectorCases("manifests.json")[0].string("manifest")
    let manifest = try Manifest.parse(text)
    XCTAssertEqual(manifest.exporter?.name, "mlp-export")
    XCTAssertEqual(manifest.model.id, "owner/model")
    XCTAssertEqual(manifest.model.parameters, 134_515_008)
    XCTAssertEqual(manifest.model.vocabSize, 49152)
    XCTAssertEqual(manifest.chat?.stop, ["<|im_end|>"])
    XCTAssertEqual(manifest.files["model.pte"]?.bytes, 9)
    XCTAssertEqual(manifest.files.count, 3)
  }

  func testKeysThatAreNotKnown() throws {
    let text = try vectorCases("manifests.json")[0].string("manifest")
    func withExtraKey(in path: String) throws -> String {
      let keys = path.split(separator: "/").map(String.init)
      func extended(_ json: Json, _ keys: ArraySlice<String>) throws -> Json {
        var object = try XCTUnwrap(json.asObject)
        if let key = keys.first {
          object[key] = try extended(try XCTUnwrap(object[key]), keys.dropFirst())
        } else {
          object["extra"] = 1
        }
        return .object(object)
      }
      return try extended(try Json.parse(text), keys[...]).encoded()
    }
    for path in ["", "exporter", "model", "backend", "tokenizer", "chat", "files/model.pte"] {
      let error = thrown(BundleError.self) { try Manifest.parse(try withExtraKey(in: path)) }
      let key = (path.split(separator: "/") + ["extra"]).joined(separator: ".")
      XCTAssertEqual(error, BundleError(.damagedManifest, "\(key): the key is not known"))
    }
    for path in ["model/shape", "quantization", "verification"] {
      XCTAssertNoThrow(try Manifest.parse(try withExtraKey(in: path)), path)
    }
  }

  func testProgressOfTheHashesAndItsEndByTheCaller() throws {
    let temporary = try TemporaryFolder()
    let bundle = try writeBundle(
      in: temporary.url,
      contents: ["model.pte": String(repeating: "x", count: 3 << 20), "tokenizer.json": "{}", "LICENSE": "MIT"])
    let mebibyte: Int64 = 1 << 20
    let expected = [3, mebibyte + 3, 2 * mebibyte + 3, 3 * mebibyte + 3, 3 * mebibyte + 5]
    var seen: [Int64] = []
    try bundle.checkHashes { done, total in
      XCTAssertEqual(total, expected.last)
      seen.append(done)
    }
    XCTAssertEqual(seen, expected)
    struct Cancelled: Error {}
    var calls = 0
    XCTAssertNotNil(
      thrown(Cancelled.self) {
        try bundle.checkHashes { _, _ in
          calls += 1
          throw Cancelled()
        }
      })
    XCTAssertEqual(calls, 1)
  }

  func testAManifestThatIsALinkTooLongOrInUtf16() throws {
    let temporary = try TemporaryFolder()
    let folder = try writeBundle(in: temporary.url).folder
    let file = folder.appendingPathComponent("manifest.json")
    let text = try String(contentsOf: file, encoding: .utf8)
    try Data((text + String(repeating: " ", count: 5 << 20)).utf8).write(to: file)
    XCTAssertEqual(try problem(folder)?.problem, .damagedManifest)
    try XCTUnwrap(text.data(using: .utf16)).write(to: file)
    XCTAssertEqual(try problem(folder), BundleError(.damagedManifest, "manifest.json is not UTF-8"))
    try FileManager.default.removeItem(at: file)
    try FileManager.default.createSymbolicLink(atPath: file.path, withDestinationPath: "elsewhere.json")
    XCTAssertEqual(try problem(folder)?.problem, .symbolicLink)
    XCTAssertEqual(try problem(folder.appendingPathComponent("gone"))?.problem, .notABundle)
    XCTAssertEqual(try problem(folder.appendingPathComponent("model.pte"))?.problem, .notABundle, "a file")
    try FileManager.default.removeItem(at: file)
    try FileManager.default.createDirectory(at: file, withIntermediateDirectories: true)
    XCTAssertEqual(try problem(folder)?.problem, .notABundle, "a folder named manifest.json")
  }

  func testAFileThatIsGoneWhenItsHashIsChecked() throws {
    let temporary = try TemporaryFolder()
    let bundle = try writeBundle(in: temporary.url)
    XCTAssertNoThrow(try bundle.checkHashes())
    try FileManager.default.removeItem(at: bundle.pte)
    let error = thrown(BundleError.self) { try bundle.checkHashes() }
    XCTAssertEqual(error, BundleError(.unreadable, "model.pte: No such file or directory"))
  }

  func testAFileThatMayNotBeRead() throws {
    let temporary = try TemporaryFolder()
    let bundle = try writeBundle(in: temporary.url)
    chmod(bundle.license.path, 0)
    let user = geteuid()
    if user == 0 { seteuid(65534) }  // root reads everything
    defer { seteuid(user) }
    XCTAssertEqual(try problem(bundle.folder), BundleError(.unreadable, "LICENSE: Permission denied"))
    seteuid(user)
    chmod(bundle.folder.path, 0)
    if user == 0 { seteuid(65534) }
    XCTAssertEqual(try problem(bundle.folder), BundleError(.unreadable, "manifest.json: Permission denied"))
    seteuid(user)
    chmod(bundle.folder.path, 0o700)
  }

  func testDeepNestingAndHugeNumbersCostNothing() {
    let deep = String(repeating: "[", count: 100_000)
    let long = String(repeating: "9", count: 100_000)
    let key = String(repeating: "e\u{301}\u{302}", count: 100_000)
    let texts = [
      deep, "{\"format\": \(deep)", "{\"format\": 1e999999999}", "{\"format\": \(long)}",
      "{\"format\": 2, \"\(key)\": 1, \"\(key)\": 2}", "{\"format\": 2, \"files\": {\"\(key)\": 1}}",
    ]
    for text in texts {
      let error = thrown(BundleError.self) { try Manifest.parse(text) }
      XCTAssertLessThan(error?.detail.unicodeScalars.count ?? .max, 300)
    }
  }

  func testAFixtureIsReadAsItWasMade() throws {
    let temporary = try TemporaryFolder()
    let made = manifest(context: 77, chat: nil, backend: "coreml", target: "cpu_only", minRuntime: ["ios": "18"])
    var found = try writeBundle(made, in: temporary.url).manifest
    XCTAssertEqual(found.files["LICENSE"]?.bytes, 10)
    found.files = [:]
    XCTAssertEqual(found, made)
  }

  private func problem(_ folder: URL) throws -> BundleError? {
    thrown(BundleError.self) { try ModelBundle.open(folder) }
  }
}
