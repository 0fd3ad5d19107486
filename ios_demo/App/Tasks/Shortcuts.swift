import AppIntents
import MlpCore

// Intents open the app: a model needs the memory and the processors that iOS gives to what is seen, and a license can
// be asked for. Titles are literals, because Xcode reads them out of the sources; Support/Resources translates them.

/// Answers a question about a text.
struct AskIntent: AppIntent {
  static let title: LocalizedStringResource = "Ask About Text"
  static let description: IntentDescription? = "Answers a question about a text, on this device."
  static let openAppWhenRun = true

  @Parameter(title: "Text") var text: String
  @Parameter(title: "Question") var question: String
  @Dependency private var tasks: TaskModel

  static var parameterSummary: some ParameterSummary { Summary("Ask \(\.$question) about \(\.$text)") }

  @MainActor
  func perform() async throws -> some IntentResult & ReturnsValue<String> {
    .result(value: try await answer(tasks, .ask, text, question: question))
  }
}

/// Rewrites a text.
struct RewriteIntent: AppIntent {
  static let title: LocalizedStringResource = "Rewrite Text"
  static let description: IntentDescription? = "Rewrites a text, on this device."
  static let openAppWhenRun = true

  @Parameter(title: "Text") var text: String
  @Parameter(title: "Style", default: RewriteStyle.shorter) var style: RewriteStyle
  @Dependency private var tasks: TaskModel

  static var parameterSummary: some ParameterSummary { Summary("Rewrite \(\.$text), \(\.$style)") }

  @MainActor
  func perform() async throws -> some IntentResult & ReturnsValue<String> {
    .result(value: try await answer(tasks, style.task, text))
  }
}

/// Summarizes a text.
struct SummarizeIntent: AppIntent {
  static let title: LocalizedStringResource = "Summarize Text"
  static let description: IntentDescription? = "Summarizes a text in a few sentences, on this device."
  static let openAppWhenRun = true

  @Parameter(title: "Text") var text: String
  @Dependency private var tasks: TaskModel

  static var parameterSummary: some ParameterSummary { Summary("Summarize \(\.$text)") }

  @MainActor
  func perform() async throws -> some IntentResult & ReturnsValue<String> {
    .result(value: try await answer(tasks, .summarize, text))
  }
}

enum RewriteStyle: String, AppEnum {
  case shorter, formal, friendlier

  static let typeDisplayRepresentation: TypeDisplayRepresentation = "Style"
  static let caseDisplayRepresentations: [RewriteStyle: DisplayRepresentation] = [
    .shorter: "Shorter", .formal: "More Formal", .friendlier: "Friendlier",
  ]

  var task: TextTask {
    switch self {
    case .shorter: .shorter
    case .formal: .formal
    case .friendlier: .friendlier
    }
  }
}

struct TextShortcuts: AppShortcutsProvider {
  static var appShortcuts: [AppShortcut] {
    AppShortcut(
      intent: SummarizeIntent(), phrases: ["Summarize with \(.applicationName)"], shortTitle: "Summarize Text",
      systemImageName: "text.alignleft")
    AppShortcut(
      intent: RewriteIntent(), phrases: ["Rewrite with \(.applicationName)"], shortTitle: "Rewrite Text",
      systemImageName: "pencil")
    AppShortcut(
      intent: AskIntent(), phrases: ["Ask \(.applicationName) about a text"], shortTitle: "Ask About Text",
      systemImageName: "questionmark.bubble")
  }
}

/// Lets intents find `tasks`; called at the start.
func offerShortcuts(_ tasks: TaskModel) {
  AppDependencyManager.shared.add(dependency: tasks)
}

/// The sentence that Shortcuts shows.
private struct ShortcutFailure: Error, CustomLocalizedStringResourceConvertible {
  let sentence: String

  var localizedStringResource: LocalizedStringResource { "\(sentence)" }
}

@MainActor
private func answer(_ tasks: TaskModel, _ task: TextTask, _ text: String, question: String = "") async throws -> String
{
  do {
    return try await tasks.answer(task, text: text, question: question)
  } catch let refusal as Refusal {
    throw ShortcutFailure(sentence: refusal.sentence)
  }
}
