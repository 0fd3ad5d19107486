import Foundation
import MlpFixtures
import XCTest

@testable import MlpCore

/// The app without screens: a model that answers what is scripted, folders, and what tasks and documents share.
@MainActor
final class TaskWorld {
  let folder: TemporaryFolder
  let engine: FakeEngine
  let host: ModelHost
  let bundles: BundleServices
  let speeds: PrefillSpeeds
  let services: TaskServices
  let inbox: ShareInbox
  var maxNewTokens = 512

  init(context: Int = 2048) throws {
    folder = try TemporaryFolder()
    let engine = FakeEngine(context: context)
    self.engine = engine
    let url = folder.url
    let folders = AppFolders(
      documents: url.appendingPathComponent("Documents"), support: url.appendingPathComponent("support"), inbox: nil,
      caches: url.appendingPathComponent("caches"))
    for folder in [folders.documents, folders.support] {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }
    host = ModelHost(engines: { _ in engine }, tokenizers: { _ in WordTokenizer() }, memory: { 0 })
    bundles = BundleServices(
      folders: folders, device: FakeDeviceProbe(), caches: url.appendingPathComponent("caches"))
    speeds = PrefillSpeeds(file: url.appendingPathComponent("speeds.json"))
    inbox = ShareInbox(folder: url.appendingPathComponent("inbox"))
    var settings: (String) -> Int = { _ in 0 }
    services = TaskServices(
      host: host, bundles: bundles, speeds: speeds, maxNewTokens: { settings($0) },
      tokenizers: { _ in WordTokenizer() })
    settings = { [weak self] _ in self?.maxNewTokens ?? 512 }
  }

  var documents: URL { folder.url.appendingPathComponent("Documents") }

  /// Writes a bundle that fits, and accepts its license.
  @discardableResult
  func addModel(
    _ name: String = "smol", context: Int = 2048, accepted: Bool = true,
    normalization: Manifest.TokenizerInfo.Normalization? = nil
  ) throws -> ModelBundle {
    let manifest = manifest(context: context, normalization: normalization)
    let bundle = try writeBundle(manifest, in: documents, name: name)
    if accepted { bundles.licenses.accept(bundle) }
    return bundle
  }

  /// Lists what is on the disk, and waits until all of it is checked.
  func check() async {
    await bundles.library.refresh()
    await until("the files are checked") { self.bundles.library.candidates.allSatisfy(\.isChecked) }
  }

  func write(_ name: String, _ data: Data) throws -> URL {
    let file = folder.url.appendingPathComponent(name)
    try data.write(to: file)
    return file
  }

  func write(_ name: String, _ text: String) throws -> URL { try write(name, Data(text.utf8)) }

  /// Another screen's request.
  func other(_ bundle: ModelBundle) -> ModelHost.Request {
    ModelHost.Request(bundle: bundle, turns: [Turn(.user, "else")], settings: GenerationSettings(), tag: "chat/1")
  }

  var generations: Int {
    engine.calls.filter { if case .generate = $0 { true } else { false } }.count
  }
}
