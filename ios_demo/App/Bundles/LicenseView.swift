import MlpCore
import SwiftUI

/// A bundle's license: before the first use with Accept and Decline, later to read it again.
struct LicenseView: View {
  let license: LicenseModel
  let accept: () -> Void
  let close: () -> Void

  var body: some View {
    NavigationStack {
      ScrollView {
        VStack(alignment: .leading, spacing: 16) {
          Text(license.intro)
          if license.isNoncommercial {
            Label(text("license.noncommercial"), systemImage: "exclamationmark.triangle").font(.subheadline.bold())
          }
          Text(license.text).font(.footnote).textSelection(.enabled)
        }
        .padding()
      }
      .navigationTitle(license.title)
      .toolbar {
        if license.asks {
          ToolbarItem(placement: .cancellationAction) { Button(text("license.decline"), action: close) }
          ToolbarItem(placement: .confirmationAction) {
            Button(text("license.accept"), action: accept).disabled(!license.canAccept)
          }
        } else {
          ToolbarItem(placement: .confirmationAction) { Button(text("bundles.done"), action: close) }
        }
      }
    }
  }
}
