import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

@MainActor
final class BundlesModelTests: XCTestCase {
  private var folders: AppFolders!
  private var opened: [String] = []
  private var unloaded: [String] = []

  private func start(_ device: FakeDeviceProbe = FakeDeviceProbe()) throws -> BundlesModel {
    let caches = try temporaryFolder(of: self)
    let services = BundleServices(folders: folders, device: device, caches: caches)
    let model = BundlesModel(services) { self.unloaded.append($0.name) }
    model.open = { (bundle: ModelBundle, target: BundlesModel.Target) in self.opened.append("\(bundle.name) \(target)")
    }
    return model
  }

  override func setUp() async throws { folders = try appFolders(self) }

  private func settle(_ model: BundlesModel) async {
    await model.library.refresh()
    await until("hashes") { !(model.library.items ?? []).contains { $0.entry.hashes == .unchecked } }
  }

  private func texts(_ model: BundlesModel) -> String {
    (model.library.items ?? []).map { model.summary($0).spoken }.joined(separator: "\n")
  }

  private func item(_ model: BundlesModel, _ name: String = "smol") throws -> BundleLibrary.Item {
    try XCTUnwrap(model.library.item(name))
  }

  func testFirstStart() async throws {
    let model = try start()
    XCTAssertTrue(model.isLooking)
    XCTAssertFalse(model.isEmpty)
    XCTAssertEqual("Looking for models…", model.deviceLine)
    await settle(model)
    XCTAssertTrue(model.isEmpty)
    XCTAssertEqual(
      "iOS 18.5 · 8.6\u{A0}GB memory, 3.2\u{A0}GB free for this app\nExecuTorch 1.5.1", model.deviceLine)
    let help = NoModelHelp()
    XCTAssertEqual(["push", "finder", "files"], help.ways.map(\.id))
    XCTAssertEqual("mlp-export push BUNDLE --device ios", help.ways[0].command)
    model.pick()
    XCTAssertTrue(model.isPicking)
  }

  func testRowSaysWhatTheBundleIs() async throws {
    try writeBundle(in: folders.documents)
    let model = try start()
    await model.library.refresh()
    XCTAssertEqual("Its files will be checked before the first use.", BundleSummary.check(try item(model), nil))
    let half = BundleLibrary.Progress(name: "smol", done: 1, total: 2)
    XCTAssertEqual("Checking the files: 50%", BundleSummary.check(try item(model), half))
    await settle(model)
    let summary = model.summary(try item(model))
    XCTAssertEqual("SmolLM2-135M-Instruct", summary.title)
    XCTAssertEqual("HuggingFaceTB · Apache-2.0", summary.subtitle)
    XCTAssertEqual(["CPU", "21\u{A0}B", "128 tokens", "int4-g32", "Verified"], summary.chips)
    XCTAssertEqual(["Runs on this device"], summary.lines.map(\.text))
    XCTAssertTrue(summary.canOpen)
    XCTAssertNil(BundleSummary.check(try item(model), half))
    let details = BundleDetails(try XCTUnwrap(item(model).entry.bundle))
    XCTAssertEqual("HuggingFaceTB/SmolLM2-135M-Instruct @ 1", details.rows[0].value)
    XCTAssertTrue(details.rows.contains(.init(name: "Parameters", value: "135 M")))
    XCTAssertTrue(details.rows.contains(.init(name: "KV cache", value: "25.1\u{A0}MB")))
    XCTAssertEqual([.init(name: "weights", value: "Passed. bit-equal")], details.checks)
    XCTAssertNil(details.noChecks)
  }

  func testTheDetailsSayHowMuchOfTheChatTemplateIsCarried() async throws {
    let limit = "the template takes a system message only inside the first message"
    let cases: [(manifest: Manifest, said: String)] = [
      (manifest(), "Carried as a whole"),
      (manifest(chatLimits: [limit, "b"]), "Carried in part:\n\(limit)\nb"),
      (
        manifest(chat: nil, chatLimits: [limit]),
        "The chat template is not carried, so the model continues plain text:\n\(limit)"
      ),
      (manifest(chat: nil), "The model has no chat template, and continues plain text."),
    ]
    for (index, (manifest, said)) in cases.enumerated() {
      let bundle = try writeBundle(manifest, in: folders.documents, name: "chat\(index)")
      XCTAssertEqual(BundleDetails(bundle).rows.filter { $0.name == "Chat template" }.map(\.value), [said])
    }
  }

  func testABundleWithoutAChatTemplateSaysSoInTheList() async throws {
    try writeBundle(in: folders.documents, name: "chats")
    try writeBundle(manifest(chatLimits: ["no system message"]), in: folders.documents, name: "part")
    try writeBundle(manifest(chat: nil, chatLimits: ["a loop"]), in: folders.documents, name: "plain")
    let model = try start()
    await settle(model)
    let (runs, warning) = ("Runs on this device", "exclamationmark.triangle")
    XCTAssertEqual(model.summary(try item(model, "chats")).lines.map(\.text), [runs])
    XCTAssertEqual(model.summary(try item(model, "part")).lines.map(\.text), [runs])
    let template = "The chat template is not carried, so the model continues plain text:\na loop"
    let summary = model.summary(try item(model, "plain"))
    XCTAssertEqual(summary.lines.last, .init(symbol: warning, text: template, isHeadline: false))
    XCTAssertTrue(summary.canOpen)
  }

  func testWhatDoesNotRunSaysWhyAndOpensNothing() async throws {
    var quick = manifest(deviceRamBytes: 20 << 30)
    quick.verification = nil
    try writeBundle(quick, in: folders.documents, name: "big")
    try writeBundle(manifest(backend: "qnn", target: "sm8650"), in: folders.documents, name: "android")
    try writeBundle(manifest(backend: "coreml", minRuntime: ["ios": "19"]), in: folders.documents, name: "new")
    let damaged = try writeBundle(in: folders.documents, name: "damaged")
    try Data("a progrom".utf8).write(to: damaged.pte)
    let half = try writeBundle(in: folders.documents, name: "half")
    try FileManager.default.removeItem(at: half.folder.appendingPathComponent("manifest.json"))
    let model = try start()
    await settle(model)
    for (name, sentence) in [
      ("big", "It needs 21.5\u{A0}GB of memory, and this device has 8.6\u{A0}GB"),
      ("big", "The export did not verify it"), ("android", "It is made for Android"),
      ("new", "It needs iOS 19, and this device has iOS 18.5"),
      ("damaged", "The content of model.pte is not what the export wrote"),
      ("half", "no manifest.json, which is copied last"),
    ] {
      let summary = model.summary(try item(model, name))
      XCTAssertTrue(summary.spoken.contains(sentence), "\(name): \(summary.spoken)")
      XCTAssertFalse(summary.canOpen, name)
      model.open(name)
      XCTAssertNotNil(model.notice, name)
      model.notice = nil
      XCTAssertNotNil(model.services.obstacle(named: name), name)
    }
    XCTAssertEqual([], opened)
    model.open("nothing")
    XCTAssertTrue(try XCTUnwrap(model.notice).text.hasPrefix("There is no model in a folder named nothing"))
  }

  func testWarningsStandAgainstNothing() async throws {
    var probe = FakeDeviceProbe()
    probe.found.isSimulator = true
    probe.found.availableMemoryBytes = 1
    try writeBundle(manifest(backend: "coreml", target: "cpu_and_ne"), in: folders.documents)
    let model = try start(probe)
    await settle(model)
    let summary = model.summary(try item(model))
    XCTAssertTrue(summary.canOpen)
    XCTAssertEqual("Neural Engine", summary.chips[0])
    XCTAssertEqual(
      ["checkmark.circle", "exclamationmark.triangle", "exclamationmark.triangle", "hourglass"],
      summary.lines.map(\.symbol))
    XCTAssertTrue(summary.spoken.contains("Core ML compiles the model for this device, once"))
    XCTAssertTrue(model.deviceLine.hasPrefix("Simulator, iOS 18.5"))
    let bundle = try XCTUnwrap(item(model).entry.bundle)
    XCTAssertTrue(model.services.loadingText(bundle).contains("for the first time"))
  }

  func testLicenseIsAskedForOnceAndThenTheChatOpens() async throws {
    try writeBundle(manifest(license: "FAIR NC"), in: folders.documents)
    let model = try start()
    model.open("smol")
    XCTAssertTrue(model.license == nil && model.notice == nil, "nothing is known yet")
    await settle(model)
    model.proceed()
    let license = try XCTUnwrap(model.license)
    XCTAssertTrue(license.asks && license.canAccept && license.isNoncommercial)
    XCTAssertEqual(
      "SmolLM2-135M-Instruct is published under FAIR NC. Please read it before the first use.", license.intro)
    XCTAssertEqual("Apache-2.0", license.text)
    XCTAssertEqual([], opened)
    XCTAssertEqual(license.intro, model.services.obstacle(named: "smol"))
    model.acceptLicense()
    model.closeLicense()
    XCTAssertEqual(["smol chat"], opened)
    XCTAssertNil(model.services.obstacle(named: "smol"))
    model.open("smol", .document)
    XCTAssertEqual(["smol chat", "smol document"], opened)
    let next = try start()
    await settle(next)
    next.open("smol")
    XCTAssertEqual(3, opened.count, "remembered by the next process")
    next.showLicense(try item(next))
    XCTAssertEqual(false, next.license?.asks)
    XCTAssertEqual("smol", next.services.choice.choose(next.library)?.entry.name)
  }

  func testDeclinedLicenseOpensNothingAndIsNotAskedForAgain() async throws {
    let bundle = try writeBundle(in: folders.documents)
    let model = try start()
    await settle(model)
    model.open("smol")
    XCTAssertNotNil(model.license)
    model.license = nil  // as SwiftUI does when the sheet is swiped away
    model.closeLicense()
    model.proceed()
    XCTAssertNil(model.license)
    XCTAssertEqual([], opened)
    XCTAssertFalse(model.services.licenses.isAccepted(bundle))
  }

  func testLicenseThatCannotBeReadCannotBeAccepted() async throws {
    let bundle = try writeBundle(in: folders.documents)
    let licenses = AcceptedLicenses(file: folders.support.appendingPathComponent("licenses.json"))
    try FileManager.default.removeItem(at: bundle.license)
    let license = LicenseModel(bundle, licenses)
    XCTAssertFalse(license.canAccept)
    license.accept()
    XCTAssertFalse(licenses.isAccepted(bundle))
    XCTAssertTrue(license.text.hasPrefix("The bundle’s LICENSE file cannot be read."))
  }

  func testAnotherLicenseTextIsAskedForAgain() async throws {
    let licenses = AcceptedLicenses(file: folders.support.appendingPathComponent("licenses.json"))
    licenses.accept(try writeBundle(in: folders.documents))
    XCTAssertTrue(licenses.isAccepted(try writeBundle(in: folders.documents)))
    let other = try writeBundle(
      in: folders.documents, contents: ["model.pte": "a", "tokenizer.json": "{}", "LICENSE": "Other terms"])
    XCTAssertFalse(licenses.isAccepted(other))
  }

  func testTapBeforeTheCheckWaitsForIt() async throws {
    try writeBundle(in: folders.documents)
    let model = try start()
    model.services.licenses.accept(try ModelBundle.open(folders.documents.appendingPathComponent("smol")))
    await model.library.refresh()
    if try !item(model).isChecked {
      model.open("smol")
      XCTAssertTrue(model.isWaiting(try item(model)))
      XCTAssertEqual([], opened)
    } else {
      model.open("smol")
    }
    await settle(model)
    model.proceed()
    model.proceed()
    XCTAssertEqual(["smol chat"], opened, "once")
  }

  func testDeletingAsksFirstAndUnloads() async throws {
    try writeBundle(in: folders.documents)
    let model = try start()
    var deleted: [String] = []
    model.deleted = { deleted.append($0) }
    await settle(model)
    model.askToDelete(try item(model))
    let deletion = try XCTUnwrap(model.deletion)
    XCTAssertEqual("Delete SmolLM2-135M-Instruct?", deletion.question)
    XCTAssertTrue(deletion.explanation.contains("kB will be freed"), deletion.explanation)
    XCTAssertEqual(["smol"], names(in: folders.documents))
    await model.delete(deletion)
    XCTAssertEqual([], names(in: folders.documents))
    XCTAssertEqual(["smol"], unloaded)
    XCTAssertEqual(["smol"], deleted)
    XCTAssertTrue(model.isEmpty)
  }

  func testImportIsListedCheckedAndTold() async throws {
    let source = try writeBundle(in: temporaryFolder(of: self))
    let model = try start()
    let access = FakeAccess()
    model.picked(.success([source.folder]), access: access)
    XCTAssertFalse(model.canImport)
    XCTAssertEqual("Importing smol", model.importTitle)
    XCTAssertEqual("Waiting for the files, which may have to be downloaded first…", model.importText)
    await until("import") { model.library.isImportOver && model.library.item("smol") != nil }
    XCTAssertTrue(try item(model).isChecked, "hashed on the way")
    XCTAssertEqual(["smol"], access.scopes)
    model.tellImport()
    XCTAssertEqual(BundlesModel.Notice(title: "Import Finished", text: "smol was imported."), model.notice)
    XCTAssertFalse(model.library.isImportOver)
    XCTAssertTrue(model.canImport)
  }

  func testPickerThatIsLeftChangesNothing() async throws {
    let model = try start()
    model.pick()
    model.picked(.failure(CocoaError(.userCancelled)), access: FakeAccess())
    model.picked(.success([]), access: FakeAccess())
    XCTAssertFalse(model.isPicking)
    XCTAssertNil(model.notice)
    XCTAssertNil(model.library.importing)
    model.picked(.failure(CocoaError(.fileReadNoPermission)), access: FakeAccess())
    XCTAssertTrue(try XCTUnwrap(model.notice).text.contains("is not allowed to read"))
  }

  func testCancelEndsTheWaitForAProvider() async throws {
    let source = try writeBundle(in: temporaryFolder(of: self))
    let model = try start()
    let access = FakeAccess(waits: "model.pte")
    model.picked(.success([source.folder]), access: access)
    await Task.detached { access.isWaiting.wait() }.value
    XCTAssertFalse(model.library.startImport([source.folder], access: FakeAccess()), "one at a time")
    model.library.cancelImport()
    await until("the end") { model.library.isImportOver }
    model.tellImport()
    XCTAssertEqual(BundlesModel.Notice(title: "Import Cancelled", text: "Nothing was kept."), model.notice)
    XCTAssertEqual([], names(in: folders.documents))
    XCTAssertEqual([], names(in: folders.support.appendingPathComponent("imports")))
  }

  func testOfflineProviderIsTold() async throws {
    let source = try writeBundle(in: temporaryFolder(of: self))
    let model = try start()
    model.picked(
      .success([source.folder]), access: FakeAccess(problem: NSError(domain: NSURLErrorDomain, code: -1009)))
    await until("the end") { model.library.isImportOver }
    model.tellImport()
    XCTAssertEqual("Import Failed", model.notice?.title)
    XCTAssertTrue(try XCTUnwrap(model.notice).text.contains("its provider cannot be reached"))
  }

  func testDocumentsThatCannotBeListedAreTold() async throws {
    try FileManager.default.removeItem(at: folders.documents)
    let model = try start()
    await model.library.refresh()
    XCTAssertFalse(model.isEmpty)
    XCTAssertTrue(try XCTUnwrap(model.unreadable).hasPrefix("The folder with the models cannot be listed."))
  }

  func testFileThatCouldNotBeReadIsCheckedAtTheNextLook() async throws {
    let bundle = try writeBundle(in: folders.documents)
    let model = try start()
    let looked = BundleEntry.usable(bundle, .unchecked)
    await settle(model)
    XCTAssertEqual(.checked, try item(model).entry.hashes)
    XCTAssertNotEqual(looked, try item(model).entry)
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: bundle.pte.path)
    await settle(model)
    XCTAssertEqual(.checked, try item(model).entry.hashes, "read again, as it changed")
  }
}
