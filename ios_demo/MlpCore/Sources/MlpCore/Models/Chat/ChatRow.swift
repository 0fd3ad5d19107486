import Foundation

/// One row of a chat's messages.
public struct ChatRow: Equatable, Identifiable, Sendable {
  public enum Kind: Equatable, Sendable {
    case earlier  // a long conversation is not laid out as a whole
    case dropped  // what is above is no longer given to the model
    case user
    case model
  }

  public var kind: Kind
  public var id: String
  public var text = ""
  public var isLive = false  // it is being written
  public var end: String?  // how it ended, if not well
  public var lost: String?  // that characters are missing
  public var statistics: String?
  public var canEdit = false
  public var canAnswerAgain = false
  public var canGoOn = false

  public var canCopy: Bool { !text.isEmpty && !isLive }

  /// What VoiceOver reads: who speaks, and what.
  public var label: String {
    switch kind {
    case .earlier: MlpCore.text("chat.earlier")
    case .dropped: MlpCore.text("chat.notSeen")
    case .user: MlpCore.text("chat.youSaid", text)
    case .model: MlpCore.text("chat.modelSaid", markdown(text).map(\.plain).joined(separator: "\n"))
    }
  }
}

private let unfinished: Set<AnswerEnd> = [.stopped, .interrupted, .maxTokens, .failed, .contextFull]

/// What the rows of a conversation depend on, beside its messages.
struct ChatMoment {
  var from: Int  // index of the first message that is shown
  var window: Int  // index of the first message that the model is given
  var hasBundle: Bool
  var isBusy: Bool
  var isAnswering: Bool
  var liveText: String?  // the last answer as the model has it, which is newer than the store's
  var isFull: Bool
}

func chatRows(_ messages: [ChatMessage], _ moment: ChatMoment) -> [ChatRow] {
  var rows: [ChatRow] = []
  if moment.from > 0 { rows.append(ChatRow(kind: .earlier, id: "earlier")) }
  for (index, message) in messages.enumerated().dropFirst(moment.from) {
    if index == moment.window, index > 0 { rows.append(ChatRow(kind: .dropped, id: "dropped")) }
    if message.role == .user {
      let canEdit = moment.hasBundle && !moment.isBusy
      rows.append(ChatRow(kind: .user, id: message.id, text: message.text, canEdit: canEdit))
    } else {
      rows.append(modelRow(message, isLast: index == messages.count - 1, moment))
    }
  }
  return rows
}

private func modelRow(_ message: ChatMessage, isLast: Bool, _ moment: ChatMoment) -> ChatRow {
  let isLive = isLast && moment.isAnswering
  let canAsk = isLast && moment.hasBundle && !moment.isBusy
  let isUnfinished = message.end.map { unfinished.contains($0) } ?? false
  return ChatRow(
    kind: .model, id: message.id, text: isLast ? moment.liveText ?? message.text : message.text, isLive: isLive,
    end: isLive ? nil : AnswerTexts.end(message.end, text: message.text),
    lost: isLive ? nil : message.statistics.flatMap(AnswerTexts.lost),
    statistics: isLive ? nil : message.statistics.flatMap(AnswerTexts.line), canAnswerAgain: canAsk,
    canGoOn: canAsk && !moment.isFull && !message.text.isBlank && isUnfinished)
}
