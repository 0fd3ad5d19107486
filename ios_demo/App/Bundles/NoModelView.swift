import MlpCore
import SwiftUI

/// How to get the first model onto the device.
struct NoModelView: View {
  let pick: () -> Void
  private let help = NoModelHelp()

  var body: some View {
    Section {
      VStack(alignment: .leading, spacing: 8) {
        Text(help.title).font(.title2.bold())
        Text(help.intro)
      }
      ForEach(help.ways) { way in
        VStack(alignment: .leading, spacing: 4) {
          Label(way.title, systemImage: way.symbol).font(.headline)
          Text(way.text).font(.subheadline)
          if let command = way.command {
            Text(command).font(.footnote.monospaced()).textSelection(.enabled)
          }
        }
      }
      Button(action: pick) { Label(text("bundles.import"), systemImage: "square.and.arrow.down") }
    }
  }
}
