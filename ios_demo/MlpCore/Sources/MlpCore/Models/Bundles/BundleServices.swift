import Foundation

/// Everything about bundles that outlives screens.
@MainActor
public final class BundleServices {
  public let library: BundleLibrary
  public let licenses: AcceptedLicenses
  public let loads: CoreMLLoads
  public let choice: ModelChoice

  /// `caches`: the app's Library/Caches.
  public init(folders: AppFolders, device: any DeviceProbe, caches: URL) {
    library = BundleLibrary(folders: folders, device: device)
    licenses = AcceptedLicenses(file: folders.support.appendingPathComponent("licenses.json"))
    loads = CoreMLLoads(
      caches: caches, systemVersion: device.device().systemVersion, freeBytes: { device.freeBytes(at: caches) })
    choice = ModelChoice(file: folders.support.appendingPathComponent("last-model"))
  }

  /// Why `item` must not be asked, as the list of bundles would say it; nil where nothing stands against it. An old
  /// conversation, a shortcut or shared text leads past that list.
  public func obstacle(_ item: BundleLibrary.Item) -> String? {
    guard case .usable(let bundle, let hashes) = item.entry else { return sentences(item).joined(separator: " ") }
    let name = modelName(bundle.manifest)
    if !item.canOpen { return sentences(item).joined(separator: " ") }
    if hashes != .checked { return text("bundles.obstacleUnchecked", name) }
    if !licenses.isAccepted(bundle) {
      return text("license.intro", name, bundle.manifest.model.license ?? text("license.unnamed"))
    }
    return nil
  }

  /// The same for the bundle in the folder `name`, which may be gone.
  public func obstacle(named name: String) -> String? {
    library.item(name).map(obstacle) ?? text("bundles.notFound", name)
  }

  /// What to say while `bundle` is loaded.
  public func loadingText(_ bundle: ModelBundle) -> String {
    text(loads.compiles(bundle) ? "bundles.compiling" : "bundles.loading", modelName(bundle.manifest))
  }
}

/// The model's name without its owner.
public func modelName(_ manifest: Manifest) -> String {
  manifest.model.id.split(separator: "/").last.map(String.init) ?? manifest.model.id
}

/// Why a bundle cannot be opened; empty where it can.
func sentences(_ item: BundleLibrary.Item) -> [String] {
  switch item.entry {
  case .broken(_, let error): [sentence(error)]
  case .incomplete(let folder): [text("bundles.incomplete", folder.lastPathComponent)]
  case .usable(_, .wrong(let file)): [text("problem.wrongHash", file)]
  case .usable: (item.fit?.reasons ?? []).map(sentence)
  }
}
