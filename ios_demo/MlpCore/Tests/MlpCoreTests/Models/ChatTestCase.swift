import MlpFixtures
import XCTest

@testable import MlpCore

/// An app with the model "smol", whose files were checked and whose license was accepted.
@MainActor
class ChatTestCase: XCTestCase {
  let engines = Engines()
  let time = FakeBackgroundTime()
  private(set) var folder: TemporaryFolder?
  private var made: AppModel?
  var now = 100.0

  var engine: FakeEngine { engines.next }
  var app: AppModel { made! }

  func start(_ manifest: Manifest = manifest(), free: Int64? = nil) async throws {
    let folder = try TemporaryFolder()
    self.folder = folder
    var device = FakeDeviceProbe()
    device.free = free
    let app = AppModel.test(in: folder.url, engines: engines.make, device: device, backgroundTime: time)
    made = app
    let bundle = try writeBundle(manifest, in: app.folders.documents)
    app.bundles.licenses.accept(bundle)
    await look()
  }

  /// Looks at the disk until all hashes are known.
  func look() async {
    await app.bundles.library.refresh()
    await until("hashes") { (app.bundles.library.items ?? []).allSatisfy { $0.entry.hashes != .unchecked } }
  }

  func chat(_ conversation: String? = nil) -> ChatModel {
    ChatModel(app, bundle: "smol", conversation: conversation, countDelay: .zero, clock: { [unowned self] in now })
  }

  /// Sends `text` and waits for the answer.
  func ask(_ chat: ChatModel, _ text: String) async {
    chat.draft = text
    chat.pressSend()
    await ended()
  }

  /// A chat whose answer, " a a a ...", is held after its first `pieces`.
  func answering(pieces: Int) async throws -> ChatModel {
    try await start()
    let chat = chat()
    engine.script(Array(repeating: " a", count: 40))
    engine.pause()
    chat.draft = "Hello"
    chat.pressSend()
    engine.step(1 + pieces)  // the load is a step as well
    await until("text") { chat.rows.last?.text == String(repeating: " a", count: pieces) }
    return chat
  }

  func ended() async { await until("answer") { !app.host.isBusy } }

  func stored(_ chat: ChatModel) -> [String] {
    chat.id.flatMap(app.conversations.read)?.messages.map { "\($0.role): \($0.text)" } ?? []
  }
}
