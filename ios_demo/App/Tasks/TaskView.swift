import MlpCore
import SwiftUI
import UIKit
import UniformTypeIdentifiers

/// Ask, rewrite or summarize a text.
struct TaskView: View {
  @Bindable var model: TaskModel
  @State private var picks = false

  var body: some View {
    Form {
      textSection
      taskSection
      workSection
      answerSection
      sharedSection
    }
    .navigationTitle(text("task.title"))
    .onAppear { model.isPresented = true }
    .onDisappear { model.isPresented = false }
    .fileImporter(isPresented: $picks, allowedContentTypes: [.text, .data]) { result in
      switch result {
      case .success(let url): Task { await model.openFile(url, access: CoordinatedFiles()) }
      case .failure(let error): model.fail(error)
      }
    }
    .modifier(GateLicense(gate: model.gate, close: model.closeLicense))
  }

  private var textSection: some View {
    Section(text("task.text")) {
      TextField(text("task.textHint"), text: $model.shownText, axis: .vertical)
        .lineLimit(3...12)
        .disabled(!model.isEditable)
        .accessibilityLabel(text("task.text"))
      if model.isReading { Text(text("task.reading")).foregroundStyle(.secondary) }
      Button(text("task.paste"), systemImage: "doc.on.clipboard") { model.paste(UIPasteboard.general.string) }
        .disabled(model.isBusy)
      Button(text("task.openFile"), systemImage: "doc.text") { picks = true }.disabled(model.isBusy)
    }
  }

  private var taskSection: some View {
    Section {
      GatePicker(gate: model.gate) { model.gate.choose($0) }.disabled(model.isBusy)
      Group {
        Button(text("task.summarize"), systemImage: "text.alignleft") { model.start(.summarize) }
        Button(text("task.shorter"), systemImage: "scissors") { model.start(.shorter) }
        Button(text("task.formal"), systemImage: "person") { model.start(.formal) }
        Button(text("task.friendlier"), systemImage: "face.smiling") { model.start(.friendlier) }
      }
      .disabled(!model.canStart)
      TextField(text("task.question"), text: $model.question, axis: .vertical)
      Button(text("task.ask"), systemImage: "questionmark.bubble") { model.start(.ask) }.disabled(!model.canAsk)
    }
  }

  @ViewBuilder private var workSection: some View {
    if model.canStop || model.problem != nil {
      Section {
        if let line = model.work { WorkView(line: line) }
        if model.canStop { Button(text("task.stop"), systemImage: "stop.circle", action: model.stop) }
        if let problem = model.problem { Label(problem, systemImage: "exclamationmark.circle") }
      }
    }
  }

  @ViewBuilder private var answerSection: some View {
    if !model.answer.isEmpty {
      Section(text("task.answer")) {
        Text(model.answer).textSelection(.enabled)
        if let result = model.result {
          Text(result.about).font(.caption).foregroundStyle(.secondary)
          Button(text("task.copy"), systemImage: "doc.on.doc") { UIPasteboard.general.string = result.text }
          ShareLink(text("task.share"), item: result.text)
        }
      }
    }
  }

  @ViewBuilder private var sharedSection: some View {
    if !model.shared.isEmpty {
      Section(text("task.shared")) {
        ForEach(model.shared) { item in
          Button(model.name(item)) { Task { await model.open(item) } }
            .disabled(model.isBusy)
            .swipeActions {
              Button(text("task.delete"), role: .destructive) { Task { await model.remove(item) } }
            }
        }
      }
    }
  }
}
