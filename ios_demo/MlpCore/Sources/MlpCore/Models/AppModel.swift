import Foundation
import Observation

/// Where the app keeps its files. Documents is what Finder, Files and `mlp-export push` see.
public struct AppFolders: Sendable {
  public var documents: URL  // bundles, bench/
  public var support: URL  // conversations/, settings, ledger of hashes: not shown to people
  public var inbox: URL?  // of the app group: what the share extension leaves

  public init(documents: URL, support: URL, inbox: URL?) {
    self.documents = documents
    self.support = support
    self.inbox = inbox
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

  public init(
    folders: AppFolders, device: any DeviceProbe, engines: @escaping EngineFactory,
    tokenizers: @escaping @Sendable (ModelBundle) -> Tokenizer = { openTokenizer($0.tokenizer) }
  ) { fatalError("skeleton") }
}
