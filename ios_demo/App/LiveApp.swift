import Foundation
import MlpCore
import UIKit

extension AppModel {
  /// The app with the device's folders, its own figures and ExecuTorch.
  static func live() -> AppModel {
    let group = Bundle.main.object(forInfoDictionaryKey: "AppGroup") as? String
    let shared = group.flatMap { FileManager.default.containerURL(forSecurityApplicationGroupIdentifier: $0) }
    let support = folder(.applicationSupportDirectory)
    try? FileManager.default.createDirectory(at: support, withIntermediateDirectories: true)  // iOS has none at first
    return AppModel(
      folders: AppFolders(
        documents: folder(.documentDirectory), support: support, inbox: shared?.appendingPathComponent("inbox"),
        caches: folder(.cachesDirectory)),
      device: LiveDevice(), engines: { TextRunnerEngine($0) }, backgroundTime: ApplicationTime())
  }

  private static func folder(_ directory: FileManager.SearchPathDirectory) -> URL {
    FileManager.default.urls(for: directory, in: .userDomainMask).first ?? FileManager.default.temporaryDirectory
  }
}
