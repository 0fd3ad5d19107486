import MlpCore
import SwiftUI
import UIKit

/// The share sheet's entry of the app: Info.plist names it.
final class ShareViewController: UIViewController {
  private let model = ShareModel(inbox: ShareViewController.inbox)

  private static var inbox: ShareInbox? {
    let group = Bundle.main.object(forInfoDictionaryKey: "AppGroup") as? String
    let folder = group.flatMap { FileManager.default.containerURL(forSecurityApplicationGroupIdentifier: $0) }
    return folder.map { ShareInbox(folder: $0.appendingPathComponent("inbox")) }
  }

  override func viewDidLoad() {
    super.viewDidLoad()
    let screen = UIHostingController(
      rootView: ShareView(model: model) { [weak self] in
        self?.extensionContext?.completeRequest(returningItems: nil, completionHandler: nil)
      })
    addChild(screen)
    screen.view.frame = view.bounds
    screen.view.autoresizingMask = [.flexibleWidth, .flexibleHeight]
    view.addSubview(screen.view)
    screen.didMove(toParent: self)
    let items = extensionContext?.inputItems.compactMap { $0 as? NSExtensionItem } ?? []
    Task { await take(items) }
  }

  private func take(_ items: [NSExtensionItem]) async {
    do {
      guard let item = try await SharedItem.load(items) else { return model.fail(nil) }
      await model.take(item.data, name: item.name)
    } catch {
      model.fail(error)
    }
  }
}
