import MlpCore
import SwiftUI

/// An import that runs.
struct ImportView: View {
  let model: BundlesModel

  var body: some View {
    VStack(alignment: .leading, spacing: 8) {
      Text(model.importTitle).font(.headline)
      if let progress = model.library.importing, progress.total > 0 {
        ProgressView(value: progress.fraction).accessibilityLabel(model.importTitle)
      } else {
        ProgressView().accessibilityLabel(model.importTitle)
      }
      Text(model.importText).font(.footnote).foregroundStyle(.secondary)
      Text(text("bundles.importStay")).font(.footnote).foregroundStyle(.secondary)
      Button(text("bundles.cancel"), role: .cancel) { model.library.cancelImport() }.buttonStyle(.bordered)
    }
  }
}
