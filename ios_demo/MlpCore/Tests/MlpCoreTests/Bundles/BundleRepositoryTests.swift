import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

final class BundleRepositoryTests: XCTestCase {
  private func repository(_ folders: AppFolders) -> BundleRepository {
    BundleRepository(documents: folders.documents, ledger: ledger(folders))
  }

  private func ledger(_ folders: AppFolders) -> HashLedger {
    HashLedger(file: folders.support.appendingPathComponent("checked.json"))
  }

  private func problem(_ entry: BundleEntry?) -> BundleProblem? {
    if case .broken(_, let error)? = entry { error.problem } else { nil }
  }

  func testUsableBundlesComeFirstAndByName() throws {
    let folders = try appFolders(self)
    for name in ["b", "A", "c"] { try writeBundle(in: folders.documents, name: name) }
    try FileManager.default.createDirectory(
      at: folders.documents.appendingPathComponent("0"), withIntermediateDirectories: true)
    let entries = try repository(folders).list()
    XCTAssertEqual(["A", "b", "c", "0"], entries.map(\.name))
    XCTAssertEqual(.notABundle, problem(entries.last))
    XCTAssertEqual(.unchecked, entries[0].hashes)
  }

  func testWhatIsNoBundleIsNotListed() throws {
    let folders = try appFolders(self)
    for name in ["bench", "Inbox", ".Trash", "x.partial"] {
      try FileManager.default.createDirectory(
        at: folders.documents.appendingPathComponent(name), withIntermediateDirectories: true)
    }
    try Data("notes".utf8).write(to: folders.documents.appendingPathComponent("notes.txt"))
    XCTAssertEqual([], try repository(folders).list())
  }

  func testDocumentsThatCannotBeListedThrow() throws {
    let folders = try appFolders(self)
    try FileManager.default.removeItem(at: folders.documents)
    XCTAssertThrowsError(try repository(folders).list())
  }

  func testFlattenedBundleIsFoundAndDeletedAlone() throws {
    let folders = try appFolders(self)
    try writeBundle(in: folders.documents.deletingLastPathComponent(), name: "Documents")
    try writeBundle(in: folders.documents, name: "other")
    try Data("mine".utf8).write(to: folders.documents.appendingPathComponent("holiday.txt"))
    let repository = repository(folders)
    let entries = try repository.list()
    XCTAssertEqual(["Documents", "other"], entries.map(\.name))
    let manifestBytes = fileSize(folders.documents.appendingPathComponent("manifest.json"))
    XCTAssertEqual(9 + 2 + 10 + manifestBytes, repository.bytes(of: entries[0]))
    XCTAssertTrue(repository.delete(entries[0]))
    XCTAssertEqual(["holiday.txt", "other"], names(in: folders.documents))
  }

  func testBrokenFlattenedBundleIsDeletedByKnownNamesAlone() throws {
    let folders = try appFolders(self)
    for name in ["manifest.json", "model.pte", "LICENSE", "holiday.txt"] {
      try Data("{".utf8).write(to: folders.documents.appendingPathComponent(name))
    }
    let repository = repository(folders)
    let entry = try XCTUnwrap(repository.list().first)
    XCTAssertEqual(.damagedManifest, problem(entry))
    XCTAssertTrue(repository.delete(entry))
    XCTAssertEqual(["holiday.txt"], names(in: folders.documents))
  }

  func testBundleThatIsStillCopiedIsIncomplete() throws {
    let folders = try appFolders(self)
    let bundle = try writeBundle(in: folders.documents)
    let manifest = bundle.folder.appendingPathComponent("manifest.json")
    let text = try Data(contentsOf: manifest)
    try FileManager.default.removeItem(at: manifest)
    guard case .incomplete? = try repository(folders).list().first else { return XCTFail("not incomplete") }
    XCTAssertNil(repository(folders).find("smol"))
    try text.write(to: manifest)
    XCTAssertEqual(bundle.manifest, repository(folders).find("smol")?.manifest)
  }

  func testHalfCopiedFileLinkAndNameAreToldApart() throws {
    let folders = try appFolders(self)
    let half = try writeBundle(in: folders.documents, name: "half")
    try Data().write(to: half.pte)
    let missing = try writeBundle(in: folders.documents, name: "missing")
    try FileManager.default.removeItem(at: missing.tokenizer)
    let linked = try writeBundle(in: folders.documents, name: "linked")
    try FileManager.default.removeItem(at: linked.pte)
    try FileManager.default.createSymbolicLink(at: linked.pte, withDestinationURL: missing.pte)
    let outside = try writeBundle(in: folders.support, name: "outside")
    try FileManager.default.createSymbolicLink(
      at: folders.documents.appendingPathComponent("link"), withDestinationURL: outside.folder)
    let newer = try writeBundle(in: folders.documents, name: "newer")
    try editManifest(newer.folder) { $0.replacingOccurrences(of: #""format":2"#, with: #""format":3"#) }
    let entries = try repository(folders).list()
    let problems = Dictionary(uniqueKeysWithValues: entries.map { ($0.name, problem($0)) })
    XCTAssertEqual(
      [
        "half": .wrongSize, "missing": .missingFile, "linked": .symbolicLink, "link": .symbolicLink,
        "newer": .newerFormat,
      ], problems)
  }

  func testDeletingFollowsNoLink() throws {
    let folders = try appFolders(self)
    let outside = try writeBundle(in: folders.support, name: "outside")
    let bundle = try writeBundle(in: folders.documents)
    try FileManager.default.createSymbolicLink(
      at: bundle.folder.appendingPathComponent("link"), withDestinationURL: outside.folder)
    let repository = repository(folders)
    XCTAssertTrue(repository.delete(try XCTUnwrap(repository.list().first)))
    XCTAssertEqual([], names(in: folders.documents))
    XCTAssertEqual(4, names(in: outside.folder).count)
    try FileManager.default.createSymbolicLink(
      at: folders.documents.appendingPathComponent("link"), withDestinationURL: outside.folder)
    XCTAssertTrue(repository.delete(try XCTUnwrap(repository.list().first)))
    XCTAssertEqual([], names(in: folders.documents))
    XCTAssertEqual(4, names(in: outside.folder).count, "not even the manifest, which goes first")
  }

  func testLedgerKnowsABundleUntilItsFilesChange() throws {
    let folders = try appFolders(self)
    let bundle = try writeBundle(in: folders.documents)
    ledger(folders).record(bundle, wrong: nil)
    XCTAssertEqual(.checked, ledger(folders).state(bundle))
    let moved = folders.support.appendingPathComponent("Moved")
    try FileManager.default.moveItem(at: folders.documents, to: moved)
    let after = try ModelBundle.open(moved.appendingPathComponent("smol"))
    XCTAssertEqual(.checked, ledger(folders).state(after), "an update moves the app's folders")
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: after.pte.path)
    XCTAssertEqual(.unchecked, ledger(folders).state(after))
    ledger(folders).record(after, wrong: "model.pte")
    XCTAssertEqual(.wrong(file: "model.pte"), ledger(folders).state(after))
    ledger(folders).forget(after.folder)
    XCTAssertEqual(.unchecked, ledger(folders).state(after))
  }

  func testDamagedOrUnwritableLedgerMeansAnotherCheck() throws {
    let folders = try appFolders(self)
    let bundle = try writeBundle(in: folders.documents)
    let file = folders.support.appendingPathComponent("checked.json")
    for text in ["", "[]", #"{"smol": 7}"#, "{"] {
      try Data(text.utf8).write(to: file)
      XCTAssertEqual(.unchecked, ledger(folders).state(bundle), text)
    }
    try FileManager.default.removeItem(at: file)
    try FileManager.default.createDirectory(at: file.appendingPathComponent("full"), withIntermediateDirectories: true)
    let full = ledger(folders)
    full.record(bundle, wrong: nil)
    XCTAssertEqual(.checked, full.state(bundle))
    XCTAssertEqual(.unchecked, ledger(folders).state(bundle), "at the next start")
  }
}
