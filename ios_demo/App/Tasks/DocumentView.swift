import MlpCore
import SwiftUI
import UIKit
import UniformTypeIdentifiers

/// A text file with its tokens, the time that reading takes, and what was asked about it.
struct DocumentView: View {
  @Bindable var model: DocumentModel
  @State private var picks = false

  var body: some View {
    List {
      Section {
        Text(model.name).font(.headline)
        Text(model.about).font(.subheadline).foregroundStyle(.secondary)
        GatePicker(gate: model.gate) { name in Task { await model.choose(name) } }.disabled(model.isBusy)
        Button(text(model.isOpen ? "document.openOther" : "document.open"), systemImage: "doc.text") { picks = true }
          .disabled(!model.canOpen)
        if model.canSummarize {
          Button(text("task.summarize"), systemImage: "text.alignleft", action: model.summarize)
        }
      }
      Section {
        ForEach(model.talk.messages) { message in row(message) }
        if !model.live.isEmpty { Text(model.live) }
      }
      Section {
        if let line = model.work { WorkView(line: line) }
        if model.canStop { Button(text("task.stop"), systemImage: "stop.circle", action: model.stop) }
        if let problem = model.problem { Label(problem, systemImage: "exclamationmark.circle") }
        TextField(text("document.question"), text: $model.question, axis: .vertical).disabled(!model.isOpen)
        Button(text("task.ask"), systemImage: "questionmark.bubble", action: model.ask).disabled(!model.canAsk)
      }
    }
    .navigationTitle(text("document.title"))
    .onAppear { model.isPresented = true }
    .onDisappear { model.isPresented = false }
    .task { await model.appear() }
    .fileImporter(isPresented: $picks, allowedContentTypes: [.text, .data]) { result in
      switch result {
      case .success(let url): Task { await model.open(url, access: CoordinatedFiles()) }
      case .failure(let error): model.fail(error)
      }
    }
    .modifier(GateLicense(gate: model.gate, close: model.closeLicense))
  }

  @ViewBuilder private func row(_ message: ChatMessage) -> some View {
    if message.role == .user {
      Text(message.text).bold()
    } else {
      VStack(alignment: .leading, spacing: 6) {
        Text(message.text).textSelection(.enabled)
        if let about = model.about(message) { Text(about).font(.caption).foregroundStyle(.secondary) }
        Button(text("task.copy"), systemImage: "doc.on.doc") { UIPasteboard.general.string = message.text }
          .buttonStyle(.borderless)
      }
    }
  }
}
