import Foundation
import Observation

/// Where the app keeps its files. Documents is what Finder, Files and `mlp-export push` see.
public struct AppFolders: Sendable {
  public var documents: URL  // bundles, bench/
  public var support: URL  // conversations/, settings, ledger of hashes: not shown to people
  public var inbox: URL?  // of the app group: what the share extension leaves
  public var caches: URL  // Library/Caches, where Core ML's compiled models are

  public init(documents: URL, support: URL, inbox: URL?, caches: URL? = nil) {
    self.documents = documents
    self.support = support
    self.inbox = inbox
    self.caches = caches ?? support.appendingPathComponent("Caches")
  }
}

/// All that the app's screens share: made once, at the start.
@MainActor
@Observable
public final class AppModel {
  public let folders: AppFolders
  public let device: any DeviceProbe
  public let host: ModelHost
  public let conversations: ConversationStore
  public let bundles: BundleServices
  public let settings: BundleSettings
  public let chats: Chats
  public let speeds: PrefillSpeeds
  /// Reads the file of a bundle's tokenizer the first time: not for the main thread.
  public let tokenizers: @Sendable (ModelBundle) -> Tokenizer
  /// Makes an engine apart from `host`.
  public let engines: EngineFactory

  let windows: ContextWindows
  let drafts: Drafts
  let counter: ContextCounter
  private let work: BackgroundWork

  public init(
    folders: AppFolders, device: any DeviceProbe, engines: @escaping EngineFactory,
    tokenizers: @escaping @Sendable (ModelBundle) -> Tokenizer = { openTokenizer($0.tokenizer) },
    backgroundTime: any BackgroundTime
  ) {
    self.folders = folders
    self.device = device
    bundles = BundleServices(folders: folders, device: device, caches: folders.caches)
    let watched = bundles.loads.watch(engines)
    self.engines = watched
    let cache = TokenizerCache(tokenizers)
    self.tokenizers = { cache.tokenizer($0) }
    host = ModelHost(engines: watched, tokenizers: { cache.tokenizer($0) }, memory: { device.residentBytes() })
    conversations = ConversationStore(folder: folders.support.appendingPathComponent("conversations"))
    settings = BundleSettings(file: folders.support.appendingPathComponent("settings.json"))
    windows = ContextWindows(file: folders.support.appendingPathComponent("windows.json"))
    drafts = Drafts(file: folders.support.appendingPathComponent("drafts.json"))
    chats = Chats(store: conversations, host: host, settings: settings, windows: windows)
    counter = ContextCounter { cache.tokenizer($0) }
    work = BackgroundWork(host, time: backgroundTime)
    speeds = PrefillSpeeds(file: folders.support.appendingPathComponent("speeds.json"))
    speeds.follow(host)
  }

  /// What tasks, documents and shortcuts take from the app.
  public var tasks: TaskServices {
    TaskServices(
      host: host, bundles: bundles, speeds: speeds, maxNewTokens: { [settings] in settings[$0].maxNewTokens },
      tokenizers: tokenizers)
  }

  /// What the share extension left; nil without the app group.
  public var inbox: ShareInbox? { folders.inbox.map { ShareInbox(folder: $0) } }

  /// The app is no longer on the screen.
  public func enteredBackground() {
    work.enteredBackground()
    drafts.save()
  }

  /// The app is on the screen again: bundles may have come or gone with Finder, Files or a computer.
  public func enteredForeground() {
    work.enteredForeground()
    if bundles.library.items != nil { Task { await bundles.library.refresh() } }
  }

  /// The system is short of memory: an idle model is the most memory for the least use, and one that works would get
  /// the app killed.
  public func memoryWarning() async {
    host.stop(.memory)
    await host.unload()
  }
}
