import Foundation

// What is said of conversations; of answers see AnswerTexts.

/// `conversation` as text to share.
func exportText(_ conversation: Conversation) -> String {
  ConversationStore.export(conversation) { role in
    switch role {
    case .system: text("settings.systemPrompt")
    case .user: text("chat.you")
    case .assistant: text("chat.model")
    }
  }
}

/// `conversation.title`, or what to call it where nothing was sent yet.
func conversationTitle(_ conversation: Conversation?) -> String {
  conversation.flatMap { $0.title.isEmpty ? nil : $0.title } ?? text("chat.new")
}
