import MlpCore
import SwiftUI

/// What a benchmark measures, as it goes.
struct BenchView: View {
  let model: BenchModel
  @Environment(\.scenePhase) private var scenePhase

  var body: some View {
    List {
      Section {
        if !model.name.isEmpty { Text(model.name).font(.headline) }
        Text(model.stage).accessibilityIdentifier("bench.stage")
        if model.isRunning {
          ProgressView(value: model.fraction).accessibilityLabel(model.stage)
          Button(text("bench.stop"), role: .cancel) { model.cancel() }
        }
      }
      if !model.lines.isEmpty {
        Section {
          ForEach(Array(model.lines.enumerated()), id: \.offset) { line in
            Text(line.element).font(.callout).monospacedDigit()
          }
        }
      }
      if !model.file.isEmpty {
        Section { Text(model.file).font(.footnote).textSelection(.enabled) }
      }
    }
    .navigationTitle(text("bench.title"))
    .onAppear { model.start() }
    .onDisappear { model.cancel() }
    .onChange(of: scenePhase) { _, phase in
      if phase == .background { model.cancel() }
    }
  }
}
