/// The one thing that a chat has to say above its input, and the ways on from it.
public struct ChatBanner: Equatable, Sendable {
  public enum Action: String, Sendable, CaseIterable {
    case showModel, stopEditing, dropOldest, newConversation, editLast, answerAgain, answerNow, close

    public var label: String {
      switch self {
      case .showModel: MlpCore.text("chat.showModel")
      case .stopEditing: MlpCore.text("chat.cancel")
      case .dropOldest: MlpCore.text("chat.dropOldest")
      case .newConversation: MlpCore.text("chat.new")
      case .editLast: MlpCore.text("chat.edit")
      case .answerAgain: MlpCore.text("chat.again")
      case .answerNow: MlpCore.text("chat.answerNow")
      case .close: MlpCore.text("chat.close")
      }
    }
  }

  public var text: String
  public var isError = false
  public var actions: [Action] = []
}
