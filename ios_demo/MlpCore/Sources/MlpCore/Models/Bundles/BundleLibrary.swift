import Foundation
import Observation

/// What the list of bundles shows, kept up to date in the background: which there are, whether they fit this device,
/// their hashes, and one import at a time. Outlives screens.
@MainActor
@Observable
public final class BundleLibrary {
  /// `fit` is nil for a bundle that cannot be used.
  public struct Item: Equatable, Sendable, Identifiable {
    public var entry: BundleEntry
    public var fit: DeviceFit?

    public init(entry: BundleEntry, fit: DeviceFit?) {
      self.entry = entry
      self.fit = fit
    }

    public var id: String { entry.name }

    /// It fits this device, and nothing is known against its files.
    public var canOpen: Bool {
      if case .wrong? = entry.hashes { return false }
      return fit?.runs == true
    }

    public var isChecked: Bool { entry.hashes == .checked }
  }

  /// Bytes of the bundle `name` that are hashed or copied; `total` is 0 until it is known.
  public struct Progress: Equatable, Sendable {
    public var name: String
    public var done: Int64
    public var total: Int64

    public var fraction: Double { total <= 0 ? 0 : min(1, max(0, Double(done) / Double(total))) }
    public var percent: Int { Int(fraction * 100) }
  }

  /// How the last import ended.
  public enum Imported: Sendable {
    case done(name: String)
    case cancelled
    case failed(any Error)
  }

  /// nil until the disk was looked at once.
  public private(set) var items: [Item]?
  public private(set) var device: Device?
  /// Why Documents cannot be listed.
  public private(set) var unreadable: (any Error)?
  public private(set) var checking: Progress?
  public private(set) var importing: Progress?
  public private(set) var imported: Imported?

  /// Whether an outcome waits to be told.
  public var isImportOver: Bool { imported != nil }

  @ObservationIgnored public let repository: BundleRepository
  @ObservationIgnored let ledger: HashLedger
  @ObservationIgnored private let importer: BundleImporter
  @ObservationIgnored private let probe: any DeviceProbe
  @ObservationIgnored private let looker = DispatchQueue(label: "bundles")
  @ObservationIgnored private let worker = DispatchQueue(label: "hashes and imports", qos: .userInitiated)
  // Identities of bundles whose check was begun. One that could not be finished waits for the next refresh: begun again
  // at once, a file that cannot be read would be read without end.
  @ObservationIgnored private var begun: Set<String> = []
  @ObservationIgnored private var unfinished: Set<String> = []
  @ObservationIgnored private var running: Set<String> = []
  @ObservationIgnored private var isClean = false
  @ObservationIgnored private var cancellation: ImportCancellation?

  public init(
    repository: BundleRepository, ledger: HashLedger, importer: BundleImporter, device: any DeviceProbe
  ) {
    self.repository = repository
    self.ledger = ledger
    self.importer = importer
    probe = device
  }

  public convenience init(folders: AppFolders, device: any DeviceProbe) {
    let ledger = HashLedger(file: folders.support.appendingPathComponent("checked.json"))
    let importer = BundleImporter(
      documents: folders.documents, staging: folders.support.appendingPathComponent("imports"), ledger: ledger,
      freeBytes: { device.freeBytes(at: folders.documents) })
    let repository = BundleRepository(documents: folders.documents, ledger: ledger)
    self.init(repository: repository, ledger: ledger, importer: importer, device: device)
  }

  public func item(_ name: String) -> Item? { items?.first { $0.entry.name == name } }

  /// The bundles that can be opened.
  public var candidates: [Item] { (items ?? []).filter(\.canOpen) }

  /// Looks at the disk, and then checks, in the background, the hashes of what is new or could not be read the last
  /// time.
  public func refresh() async {
    begun.subtract(unfinished)
    unfinished.removeAll()
    clean()
    await look()
  }

  /// Begins to copy what the system's picker gave; false while another import runs.
  public func startImport(_ urls: [URL], access: some FileAccess) -> Bool {
    guard importing == nil, let first = urls.first else { return false }
    clean()
    let name = first.lastPathComponent
    let cancellation = ImportCancellation { access.cancel() }
    self.cancellation = cancellation
    importing = Progress(name: name, done: 0, total: 0)
    imported = nil
    let report = reporter { [weak self] progress in
      if self?.cancellation === cancellation { self?.importing = progress }
    }
    worker.async { [importer, weak self] in
      let outcome: Imported
      do {
        let bundle = try access.withAccess(to: urls) {
          let source = try ImportSource.picked(urls, access: access)
          return try importer.copy(source, access: access) { done, total in
            try cancellation.check()
            report(Progress(name: name, done: done, total: total))
          }
        }
        outcome = .done(name: bundle.name)
      } catch {
        outcome = cancellation.isCancelled || isCancellation(error) ? .cancelled : .failed(error)
      }
      Task { @MainActor in await self?.endImport(outcome) }
    }
    return true
  }

  public func cancelImport() { cancellation?.cancel() }

  /// The outcome of the import was shown.
  public func forgetImport() { imported = nil }

  /// Whether all of it is gone.
  public func delete(_ entry: BundleEntry) async -> Bool {
    let gone = await run(on: looker) { [repository] in repository.delete(entry) }
    await refresh()
    return gone
  }

  private func endImport(_ outcome: Imported) async {
    importing = nil
    cancellation = nil
    imported = outcome
    await refresh()
  }

  private func look() async {
    let found = await run(on: looker) { [repository, probe] in
      let device = probe.device()
      let entries = Result { try repository.list() }
      return (device, entries)
    }
    device = found.0
    switch found.1 {
    case .success(let entries):
      unreadable = nil
      let all = entries.map { entry in
        Item(entry: entry, fit: entry.bundle.map { deviceFit($0.manifest, found.0) })
      }
      items = all.filter(\.canOpen) + all.filter { !$0.canOpen }
    case .failure(let error):
      unreadable = error
      items = []
    }
    for item in items ?? [] { check(item.entry) }
  }

  /// Once for each process, on the queue of imports and before all of them, as what a running import has written looks
  /// like what a killed one left.
  private func clean() {
    if isClean { return }
    isClean = true
    worker.async { [importer] in importer.deleteLeftovers() }
  }

  private func check(_ entry: BundleEntry) {
    guard case .usable(let bundle, .unchecked) = entry else { return }
    let identity = entry.name + "\n" + ledger.identity(bundle)
    guard begun.insert(identity).inserted else { return }
    running.insert(identity)
    let report = reporter { [weak self] progress in
      if self?.running.contains(identity) == true { self?.checking = progress }
    }
    worker.async { [ledger, weak self] in
      let isFinished: Bool
      do {
        try bundle.checkHashes { report(Progress(name: bundle.name, done: $0, total: $1)) }
        ledger.record(bundle, wrong: nil)
        excludeFromBackup(bundle.folder)
        isFinished = true
      } catch {
        // Any other problem, such as a file that is gone by now, shows when the disk is looked at again.
        let problem = error as? BundleError
        isFinished = problem?.problem == .wrongHash
        if isFinished { ledger.record(bundle, wrong: problem?.detail) }
      }
      Task { @MainActor in await self?.endCheck(identity, isFinished) }
    }
  }

  private func endCheck(_ identity: String, _ isFinished: Bool) async {
    if !isFinished { unfinished.insert(identity) }
    running.remove(identity)
    checking = nil
    await look()
  }

  /// Passes on to the main actor what a person could see: a change of the percentage. It may arrive after the end, so
  /// `show` looks whether its work still runs.
  private func reporter(_ show: @escaping @MainActor (Progress) -> Void) -> @Sendable (Progress) -> Void {
    let shown = Shown()
    return { progress in
      guard shown.changed(progress) else { return }
      Task { @MainActor in show(progress) }
    }
  }
}

/// The progress that was shown last; belongs to the queue of imports and checks.
private final class Shown: @unchecked Sendable {
  private var percent = -1

  func changed(_ progress: BundleLibrary.Progress) -> Bool {
    defer { percent = progress.percent }
    return progress.percent != percent
  }
}

/// Runs what blocks on a queue of its own: threads of Swift's pool are few.
func run<T: Sendable>(on queue: DispatchQueue, _ work: @escaping @Sendable () -> T) async -> T {
  await withCheckedContinuation { continuation in
    queue.async { continuation.resume(returning: work()) }
  }
}
