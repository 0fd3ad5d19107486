import MlpCore
import SwiftUI

/// What is set for one bundle.
struct SettingsView: View {
  @State var model: SettingsModel
  @Environment(\.dismiss) private var dismiss

  var body: some View {
    NavigationStack {
      Form {
        Section {
          if model.takesSystemPrompt {
            TextField(text("settings.systemPromptHint"), text: $model.systemPrompt, axis: .vertical)
              .lineLimit(2...8)
              .accessibilityLabel(text("settings.systemPrompt"))
          }
        } header: {
          Text(text("settings.systemPrompt"))
        } footer: {
          Text(model.systemPromptAbout)
        }
        Section {
          LabeledContent(text("settings.temperature"), value: model.temperatureText)
          Slider(value: $model.temperature, in: 0...1, step: 0.1) { Text(text("settings.temperature")) }
            .accessibilityValue(model.temperatureText)
        } footer: {
          Text(text("settings.temperatureAbout"))
        }
        Section {
          TextField(text("settings.maxTokens"), text: $model.maxTokens).keyboardType(.numberPad)
        } header: {
          Text(text("settings.maxTokens"))
        } footer: {
          Text(model.maxTokensAbout).foregroundStyle(model.isMaxTokensWrong ? Color.red : Color.secondary)
        }
        Button(text("settings.reset"), role: .destructive, action: model.reset)
      }
      .navigationTitle(text("settings.title"))
      .toolbar {
        ToolbarItem(placement: .confirmationAction) { Button(text("settings.done")) { dismiss() } }
      }
    }
    .onDisappear(perform: model.save)
  }
}
