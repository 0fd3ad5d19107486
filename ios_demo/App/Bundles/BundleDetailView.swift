import MlpCore
import SwiftUI

/// All that a manifest says.
struct BundleDetailView: View {
  let details: BundleDetails
  @Environment(\.dismiss) private var dismiss

  var body: some View {
    NavigationStack {
      List {
        Section {
          ForEach(details.rows) { row in LabeledContent(row.name, value: row.value) }
        }
        Section(text("bundle.verification")) {
          if let none = details.noChecks { Text(none) }
          ForEach(details.checks) { check in
            VStack(alignment: .leading) {
              Text(check.name).font(.subheadline.bold())
              Text(check.value).font(.footnote)
            }
          }
        }
      }
      .textSelection(.enabled)
      .navigationTitle(details.title)
      .toolbar {
        ToolbarItem(placement: .confirmationAction) { Button(text("bundles.done")) { dismiss() } }
      }
    }
  }
}
