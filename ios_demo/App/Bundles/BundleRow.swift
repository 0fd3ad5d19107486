import MlpCore
import SwiftUI

/// One bundle of the list, with what can be done with it.
struct BundleRow: View {
  let model: BundlesModel
  let item: BundleLibrary.Item
  let showDetails: () -> Void

  var body: some View {
    let summary = model.summary(item)
    VStack(alignment: .leading, spacing: 8) {
      HStack(alignment: .top) {
        VStack(alignment: .leading, spacing: 2) {
          Text(summary.title).font(.headline)
          if !summary.subtitle.isEmpty { Text(summary.subtitle).font(.subheadline).foregroundStyle(.secondary) }
        }
        Spacer()
        menu(summary)
      }
      if !summary.chips.isEmpty {
        Text(summary.chips.joined(separator: " · ")).font(.footnote).foregroundStyle(.secondary)
      }
      ForEach(Array(summary.lines.enumerated()), id: \.offset) { _, line in
        if let symbol = line.symbol {
          Label(line.text, systemImage: symbol).font(line.isHeadline ? .subheadline.bold() : .subheadline)
        } else {
          Text(line.text).font(.subheadline)
        }
      }
      check
      if summary.canOpen { buttons }
    }
    .padding(.vertical, 4)
  }

  @ViewBuilder private var check: some View {
    if let text = BundleSummary.check(item, model.library.checking) {
      Text(text).font(.footnote).foregroundStyle(.secondary)
      if let progress = model.library.checking, progress.name == item.entry.name {
        ProgressView(value: progress.fraction).accessibilityLabel(text)
      }
    }
    if model.isWaiting(item), !item.isChecked { Text(text("bundles.opensAfterCheck")).font(.footnote) }
  }

  private var buttons: some View {
    ViewThatFits(in: .horizontal) {
      HStack { openers }
      VStack(alignment: .leading) { openers }  // large text
    }
  }

  @ViewBuilder private var openers: some View {
    Button(text("bundles.chat")) { model.open(item.entry.name, .chat) }.buttonStyle(.borderedProminent)
    Button(text("bundles.document")) { model.open(item.entry.name, .document) }.buttonStyle(.bordered)
  }

  private func menu(_ summary: BundleSummary) -> some View {
    Menu {
      if item.entry.bundle != nil {
        Button(action: showDetails) { Label(text("bundles.details"), systemImage: "info.circle") }
        Button {
          model.showLicense(item)
        } label: {
          Label(text("bundles.license"), systemImage: "doc.text")
        }
      }
      Button(role: .destructive) {
        model.askToDelete(item)
      } label: {
        Label(text("bundles.delete"), systemImage: "trash")
      }
    } label: {
      Image(systemName: "ellipsis.circle").accessibilityLabel(text("bundles.more", summary.title))
    }
  }
}
