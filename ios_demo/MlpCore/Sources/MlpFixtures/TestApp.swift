import Foundation
import MlpCore

/// Asks for no real time in the background: remembers what was asked.
@MainActor
public final class FakeBackgroundTime: BackgroundTime {
  public private(set) var begun = 0
  public private(set) var ended = 0
  public private(set) var expire: (@MainActor () -> Void)?

  public nonisolated init() {}

  public func begin(expired: @escaping @MainActor () -> Void) {
    begun += 1
    expire = expired
  }

  public func end() { ended += 1 }
}

extension AppModel {
  /// An app in `folder` whose models are answered for by `engines`, and whose tokenizers count words.
  @MainActor
  public static func test(
    in folder: URL, engines: @escaping EngineFactory, device: any DeviceProbe = FakeDeviceProbe(),
    backgroundTime: any BackgroundTime = FakeBackgroundTime()
  ) -> AppModel {
    func made(_ name: String) -> URL {
      let url = folder.appendingPathComponent(name, isDirectory: true)
      try? FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
      return url
    }
    return AppModel(
      folders: AppFolders(
        documents: made("Documents"), support: made("Support"), inbox: made("Inbox"), caches: made("Caches")),
      device: device, engines: engines, tokenizers: { _ in WordTokenizer() }, backgroundTime: backgroundTime)
  }
}
