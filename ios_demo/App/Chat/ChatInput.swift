import MlpCore
import SwiftUI

/// What a chat has to say above its field, the field, and how much of the context is left.
struct ChatInput: View {
  @Bindable var model: ChatModel
  @FocusState.Binding var isWriting: Bool

  var body: some View {
    VStack(alignment: .leading, spacing: 8) {
      if let work = model.work { ProgressView(value: work.fraction) { Text(work.text).font(.footnote) } }
      if let banner = model.banner { BannerView(banner: banner, perform: perform) }
      if let notice = model.notice { Text(notice).font(.footnote).foregroundStyle(.secondary) }
      HStack(alignment: .bottom) {
        TextField(model.prompt, text: $model.draft, axis: .vertical)
          .textFieldStyle(.roundedBorder)
          .lineLimit(1...8)
          .disabled(!model.canWrite)
          .focused($isWriting)
        Button(action: model.pressSend) {
          Label(model.sendLabel, systemImage: model.isAnswering ? "stop.circle.fill" : "arrow.up.circle.fill")
            .labelStyle(.iconOnly)
            .font(.title)
        }
        .disabled(!model.canPressSend)
        .keyboardShortcut(.return, modifiers: .command)
      }
      if let line = model.contextLine {
        Text(line).font(.caption).foregroundStyle(model.isContextLow ? AnyShapeStyle(.red) : AnyShapeStyle(.secondary))
      }
    }
    .padding()
    .background(.bar)
  }

  private func perform(_ action: ChatBanner.Action) {
    model.perform(action)
    if action == .editLast { isWriting = true }
  }
}

private struct BannerView: View {
  let banner: ChatBanner
  let perform: (ChatBanner.Action) -> Void

  var body: some View {
    VStack(alignment: .leading, spacing: 8) {
      Label(banner.text, systemImage: banner.isError ? "exclamationmark.triangle" : "info.circle").font(.footnote)
      ViewThatFits(in: .horizontal) {
        HStack { buttons }
        VStack(alignment: .leading) { buttons }
      }
    }
    .padding(12)
    .frame(maxWidth: .infinity, alignment: .leading)
    .background(.thinMaterial, in: .rect(cornerRadius: 12))
  }

  private var buttons: some View {
    ForEach(banner.actions, id: \.self) { action in
      Button(action.label) { perform(action) }.buttonStyle(.bordered).controlSize(.small)
    }
  }
}
