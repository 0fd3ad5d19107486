import Foundation
import Observation

/// The screen of bundles: what to open, what stands against it, import and deletion.
@MainActor
@Observable
public final class BundlesModel {
  public enum Target: Sendable { case chat, document }

  /// Something to say over the screen.
  public struct Notice: Equatable, Sendable {
    public var title: String
    public var text: String
  }

  /// A bundle that is to be deleted if the answer is yes.
  public struct Deletion: Equatable, Sendable {
    public var entry: BundleEntry
    public var question: String
    public var explanation: String
  }

  public let services: BundleServices
  public var library: BundleLibrary { services.library }

  public var notice: Notice?
  public var deletion: Deletion?
  /// The license that stands between a tap and the chat, or that is to be read again.
  public var license: LicenseModel?
  /// Whether the system's picker is open.
  public var isPicking = false

  /// Shows the chat or the document of a bundle against which nothing stands.
  @ObservationIgnored public var open: (ModelBundle, Target) -> Void = { _, _ in }
  /// The bundle in the folder of this name is gone: its settings may go.
  @ObservationIgnored public var deleted: (String) -> Void = { _ in }
  @ObservationIgnored private let unload: (ModelBundle) async -> Void

  // What is to be opened as soon as its files are checked and its license is accepted.
  private var wanted: (name: String, target: Target)?

  /// `unload` frees the memory of a bundle that is to be deleted.
  public init(_ services: BundleServices, unload: @escaping (ModelBundle) async -> Void) {
    self.services = services
    self.unload = unload
  }

  public var isEmpty: Bool { library.items?.isEmpty == true && library.importing == nil && library.unreadable == nil }

  public var isLooking: Bool { library.items == nil }

  /// Model, memory, system and runtime of this device.
  public var deviceLine: String {
    guard let device = library.device else { return text("bundles.looking") }
    return text(
      device.isSimulator ? "bundles.simulator" : "bundles.device", device.systemVersion,
      formattedSize(device.totalMemoryBytes), formattedSize(device.availableMemoryBytes),
      device.runtimes["executorch"] ?? text("bundles.versionUnknown"))
  }

  public var unreadable: String? {
    library.unreadable.map { text("bundles.unreadable", sentence($0)) }
  }

  public func summary(_ item: BundleLibrary.Item) -> BundleSummary {
    BundleSummary(item, compiles: item.entry.bundle.map(services.loads.compiles) ?? false)
  }

  /// Whether a tap on this bundle waits for the check of its files.
  public func isWaiting(_ item: BundleLibrary.Item) -> Bool { wanted?.name == item.entry.name }

  /// Opens the bundle in the folder `name` as far as it gets: found, fit, checked, licensed.
  public func open(_ name: String, _ target: Target = .chat) {
    wanted = (name, target)
    proceed()
  }

  /// Goes on with what is wanted; to be called when the library's items change.
  public func proceed() {
    guard let (name, target) = wanted, library.items != nil, license == nil else { return }
    guard let item = library.item(name) else {
      return refuse(text("bundles.broken"), text("bundles.notFound", name))
    }
    guard item.canOpen, let bundle = item.entry.bundle else {
      return refuse(text("bundles.runsNot"), sentences(item).joined(separator: "\n\n"))
    }
    guard item.isChecked else { return }  // the check is on its way, and comes back here
    guard services.licenses.isAccepted(bundle) else {
      license = LicenseModel(bundle, services.licenses)
      return
    }
    wanted = nil
    services.choice.used(name)
    open(bundle, target)
  }

  public func acceptLicense() {
    license?.accept()
    license = nil
    proceed()
  }

  /// The license is not shown any more: accepted, declined, read again or swiped away.
  public func closeLicense() {
    license = nil
    guard let name = wanted?.name else { return }
    let isAccepted = library.item(name)?.entry.bundle.map(services.licenses.isAccepted)
    if isAccepted != true { wanted = nil }
  }

  public func showLicense(_ item: BundleLibrary.Item) {
    guard let bundle = item.entry.bundle else { return }
    wanted = nil
    license = LicenseModel(bundle, services.licenses)
  }

  public var canImport: Bool { library.importing == nil }

  public func pick() { if canImport { isPicking = true } }

  /// What the system's picker gave. One that was left gives nothing, or says that a person cancelled it.
  public func picked(_ result: Result<[URL], any Error>, access: some FileAccess) {
    isPicking = false
    switch result {
    case .success(let urls): _ = library.startImport(urls, access: access)
    case .failure(let error) where isCancellation(error): return
    case .failure(let error): notice = Notice(title: text("bundles.importFailed"), text: sentence(error))
    }
  }

  public var importTitle: String { text("bundles.importing", library.importing?.name ?? "") }

  /// How much is copied; before that, that the files may still be with their provider.
  public var importText: String {
    guard let progress = library.importing, progress.total > 0 else { return text("bundles.importWaiting") }
    return text("bundles.importProgress", formattedSize(progress.done), formattedSize(progress.total))
  }

  /// Tells how an import ended; to be called when the library's outcome changes.
  public func tellImport() {
    guard let imported = library.imported else { return }
    library.forgetImport()
    switch imported {
    case .done(let name):
      notice = Notice(title: text("bundles.imported"), text: text("bundles.importedText", name))
    case .cancelled:
      notice = Notice(title: text("bundles.importCancelled"), text: text("bundles.importCancelledText"))
    case .failed(let error):
      notice = Notice(title: text("bundles.importFailed"), text: sentence(error))
    }
  }

  public func askToDelete(_ item: BundleLibrary.Item) {
    let bytes = formattedSize(library.repository.bytes(of: item.entry))
    deletion = Deletion(
      entry: item.entry, question: text("bundles.deleteQuestion", BundleSummary.title(item.entry)),
      explanation: text("bundles.deleteExplained", bytes))
  }

  /// A person said yes. The dialog forgets `deletion` before its button does this.
  public func delete(_ deletion: Deletion) async {
    let entry = deletion.entry
    self.deletion = nil
    if let bundle = entry.bundle { await unload(bundle) }
    if await library.delete(entry) {
      deleted(entry.name)
    } else {
      let name = BundleSummary.title(entry)
      notice = Notice(title: name, text: text("bundles.deleteFailed", name))
    }
  }

  private func refuse(_ title: String, _ text: String) {
    wanted = nil
    notice = Notice(title: title, text: text)
  }
}
