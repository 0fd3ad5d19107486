import MlpCore
import SwiftUI

/// Says whether the text was taken, and how to go on.
struct ShareView: View {
  let model: ShareModel
  let close: () -> Void

  var body: some View {
    ScrollView {  // large text is higher than the screen
      VStack(spacing: 16) {
        if model.state == .reading { ProgressView() }
        Text(model.title).font(.headline).multilineTextAlignment(.center)
        Text(model.message).multilineTextAlignment(.center)
        Button(text("share.done"), action: close).buttonStyle(.borderedProminent)
      }
      .padding()
      .frame(maxWidth: .infinity)
    }
    .defaultScrollAnchor(.center)
  }
}
