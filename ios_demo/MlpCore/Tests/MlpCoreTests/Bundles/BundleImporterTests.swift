import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

final class BundleImporterTests: XCTestCase {
  private struct Stop: Error {}

  private var folders: AppFolders!
  private var downloads: URL!

  override func setUpWithError() throws {
    folders = try appFolders(self)
    downloads = try temporaryFolder(of: self)
  }

  private var staging: URL { folders.support.appendingPathComponent("imports") }
  private var ledger: HashLedger { HashLedger(file: folders.support.appendingPathComponent("checked.json")) }

  private func copy(
    _ urls: [URL], free: Int64? = 1 << 40, access: some FileAccess = DirectAccess(),
    progress: (Int64, Int64) throws -> Void = { _, _ in }
  ) throws -> ModelBundle {
    let importer = BundleImporter(documents: folders.documents, staging: staging, ledger: ledger) { free }
    return try importer.copy(ImportSource.picked(urls, access: access), access: access, progress: progress)
  }

  private func assertRefused(
    _ expected: BundleError, _ urls: [URL], line: UInt = #line
  ) {
    XCTAssertThrowsError(try copy(urls), line: line) { XCTAssertEqual(expected, $0 as? BundleError, line: line) }
    assertNothingKept(line: line)
  }

  private func assertNothingKept(line: UInt = #line) {
    XCTAssertEqual([], names(in: folders.documents), line: line)
    XCTAssertEqual([], names(in: staging), line: line)
  }

  func testFolderIsCopiedAndItsHashesAreKnown() throws {
    let source = try writeBundle(in: downloads)
    try Data("not of the bundle".utf8).write(to: source.folder.appendingPathComponent("holiday.jpg"))
    var steps: [Int64] = []
    let bundle = try copy([source.folder]) { done, total in
      XCTAssertEqual(21, total)
      steps.append(done)
    }
    XCTAssertEqual(steps.sorted(), steps)
    XCTAssertEqual(21, steps.last)
    XCTAssertEqual(folders.documents.appendingPathComponent("smol").path, bundle.folder.path)
    XCTAssertEqual(["LICENSE", "manifest.json", "model.pte", "tokenizer.json"], names(in: bundle.folder))
    XCTAssertEqual("a program", String(decoding: try Data(contentsOf: bundle.pte), as: UTF8.self))
    XCTAssertEqual(.checked, ledger.state(bundle))
    XCTAssertEqual([], names(in: staging))
  }

  func testFolderAroundOneBundleIsGoodEnoughAndAroundTwoIsNot() throws {
    let around = downloads.appendingPathComponent("build")
    try writeBundle(in: around, name: "smol")
    XCTAssertEqual("smol", try copy([around]).name)
    try FileManager.default.removeItem(at: folders.documents.appendingPathComponent("smol"))
    try writeBundle(in: around, name: "other")
    assertRefused(BundleError(.notABundle, "build"), [around])
  }

  func testFilesGetTheModelsNameAndATakenNameANumber() throws {
    let source = try writeBundle(in: downloads)
    let files = names(in: source.folder).map { source.folder.appendingPathComponent($0) }
    XCTAssertEqual("SmolLM2-135M-Instruct", try copy(files).name)
    XCTAssertEqual("SmolLM2-135M-Instruct-2", try copy(files).name)
    assertNames([
      "../..": "bundle", "My model (2)": "My-model-2-", ".hidden": "hidden", "x.partial": "x",
      "y.partial.partial": "y", String(repeating: "z", count: 72) + ".partial2": String(repeating: "z", count: 72), "bench": "bench-2", "Documents": "Documents-2",
    ])
  }

  private func assertNames(_ expected: [String: String], line: UInt = #line) {
    for (wanted, name) in expected {
      let importer = BundleImporter(documents: folders.documents, staging: staging, ledger: ledger) { nil }
      do {
        var source = try ImportSource.picked([downloads.appendingPathComponent("smol")], access: DirectAccess())
        source.name = wanted
        let bundle = try importer.copy(source, access: DirectAccess()) { _, _ in }
        XCTAssertEqual(name, bundle.name, line: line)
      } catch {
        XCTFail("\(wanted): \(error)", line: line)
      }
    }
  }

  func testWhatIsNoWholeBundleIsRefusedAndLeavesNothing() throws {
    let photos = downloads.appendingPathComponent("photos")
    try FileManager.default.createDirectory(at: photos, withIntermediateDirectories: true)
    assertRefused(BundleError(.notABundle, "photos"), [photos])
    let hash = try writeBundle(in: downloads, name: "hash")
    try Data("a progrom".utf8).write(to: hash.pte)
    assertRefused(BundleError(.wrongHash, "model.pte"), [hash.folder])
    let empty = try writeBundle(in: downloads, name: "empty")
    try Data().write(to: empty.pte)
    assertRefused(BundleError(.wrongSize, "model.pte: 0 of 9"), [empty.folder])
    let missing = try writeBundle(in: downloads, name: "missing")
    try FileManager.default.removeItem(at: missing.tokenizer)
    assertRefused(BundleError(.missingFile, "tokenizer.json"), [missing.folder])
    let evil = try writeBundle(in: downloads, name: "evil")
    try editManifest(evil.folder) { $0.replacingOccurrences(of: #""LICENSE":"#, with: #""../LICENSE":"#) }
    XCTAssertThrowsError(try copy([evil.folder])) { XCTAssertEqual(.badName, ($0 as? BundleError)?.problem) }
    assertNothingKept()
  }

  func testFileThatNeverEndsIsCutOff() throws {
    let source = try writeBundle(in: downloads)
    try FileManager.default.removeItem(at: source.pte)
    try FileManager.default.createSymbolicLink(
      at: source.pte, withDestinationURL: URL(fileURLWithPath: "/dev/zero"))
    assertRefused(BundleError(.wrongSize, "model.pte: 262144 of 9"), [source.folder])
  }

  func testPlaceholderOfICloudIsReadUnderItsRealName() throws {
    let source = try writeBundle(in: downloads)
    try FileManager.default.moveItem(at: source.pte, to: source.folder.appendingPathComponent(".model.pte.icloud"))
    let files = try ImportSource.picked([source.folder], access: DirectAccess()).files
    let file = try XCTUnwrap(files.first { $0.name == "model.pte" })
    XCTAssertEqual(source.pte.path, file.url.path)
    XCTAssertNil(file.bytes)
  }

  func testFullDeviceIsSaidBeforeCopying() throws {
    let source = try writeBundle(in: downloads)
    XCTAssertThrowsError(try copy([source.folder], free: (64 << 20) + 20)) {
      XCTAssertEqual(
        NoSpaceError(needed: (64 << 20) + 21, free: (64 << 20) + 20, purpose: .copy), $0 as? NoSpaceError)
    }
    assertNothingKept()
    XCTAssertNoThrow(try copy([source.folder], free: (64 << 20) + 21))
    XCTAssertNoThrow(try copy([source.folder], free: nil), "where it cannot be told")
  }

  func testProgressThatThrowsEndsTheImportAndLeavesNothing() throws {
    let source = try writeBundle(in: downloads)
    XCTAssertThrowsError(try copy([source.folder]) { done, _ in if done > 0 { throw Stop() } }) {
      XCTAssertTrue($0 is Stop)
    }
    assertNothingKept()
  }

  func testProviderThatIsOfflineIsPassedOn() throws {
    let source = try writeBundle(in: downloads)
    let offline = NSError(domain: NSURLErrorDomain, code: -1009)
    XCTAssertThrowsError(try copy([source.folder], access: FakeAccess(problem: offline))) {
      XCTAssertEqual(offline, $0 as NSError)
    }
    assertNothingKept()
  }

  func testLeftoversOfAKilledImportAreDeleted() throws {
    try writeBundle(in: staging, name: "killed")
    try writeBundle(in: folders.documents, name: "x.partial")
    BundleImporter(documents: folders.documents, staging: staging, ledger: ledger) { nil }.deleteLeftovers()
    XCTAssertEqual([], names(in: staging))
    XCTAssertEqual(["x.partial"], names(in: folders.documents), "another program may be copying")
  }
}
