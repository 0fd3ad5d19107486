import MlpCore
import SwiftUI

/// Which model answers.
struct GatePicker: View {
  let gate: ModelGate
  let choose: (String) -> Void

  var body: some View {
    Menu {
      ForEach(gate.models) { item in
        Button(BundleSummary.title(item.entry)) { choose(item.entry.name) }
      }
    } label: {
      LabeledContent(text("task.model"), value: gate.title)
    }
    .disabled(gate.models.isEmpty)
  }
}

/// Shows the license that comes before the first use.
struct GateLicense: ViewModifier {
  let gate: ModelGate
  let close: () -> Void

  func body(content: Content) -> some View {
    content.sheet(isPresented: Binding(get: { gate.license != nil }, set: { if !$0 { close() } })) {
      if let license = gate.license {
        LicenseView(
          license: license,
          accept: {
            license.accept()
            close()
          }, close: close)
      }
    }
  }
}

/// What the model does, and how far it is.
struct WorkView: View {
  let line: WorkStatus.Line

  var body: some View {
    VStack(alignment: .leading) {
      Text(line.text)
      if let fraction = line.fraction {
        ProgressView(value: fraction)
      } else {
        ProgressView()
      }
    }
    .accessibilityElement(children: .combine)
  }
}
