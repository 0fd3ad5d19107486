import MlpCore
import SwiftUI
import UIKit

/// One row of a chat: a message with what can be done with it.
struct MessageView: View {
  let row: ChatRow
  let model: ChatModel
  let edit: (String) -> Void

  var body: some View {
    switch row.kind {
    case .earlier: Button(row.label, action: model.showEarlier).frame(maxWidth: .infinity)
    case .dropped:
      VStack {
        Divider()
        Text(row.label).font(.caption).foregroundStyle(.secondary)
      }
    case .user: user
    case .model: answer
    }
  }

  private var user: some View {
    VStack(alignment: .trailing, spacing: 4) {
      Text(row.text)
        .textSelection(.enabled)
        .padding(12)
        .background(.tint.opacity(0.15), in: .rect(cornerRadius: 16))
        .accessibilityLabel(row.label)
      HStack {
        if row.canEdit { button("chat.edit", "pencil") { edit(row.id) } }
        copyButton
      }
    }
    .frame(maxWidth: .infinity, alignment: .trailing)
  }

  private var answer: some View {
    VStack(alignment: .leading, spacing: 6) {
      if !row.text.isEmpty { MarkdownView(source: row.text).accessibilityLabel(row.label) }
      if let end = row.end { Text(end).font(.footnote).foregroundStyle(.secondary) }
      if let lost = row.lost { Text(lost).font(.footnote).foregroundStyle(.secondary) }
      if !row.isLive {
        HStack {
          if row.canCopy { copyButton }
          if row.canAnswerAgain { button("chat.again", "arrow.clockwise", run: model.answerAgain) }
          if row.canGoOn {
            Button(text("chat.goOnShort"), action: model.goOn).accessibilityLabel(text("chat.goOn"))
          }
        }
        .controlSize(.small)
      }
      if let statistics = row.statistics {
        Button(statistics) { model.showStatistics(row.id) }.font(.caption).foregroundStyle(.secondary)
      }
    }
    .frame(maxWidth: .infinity, alignment: .leading)
  }

  private var copyButton: some View {
    button("chat.copy", "doc.on.doc") { UIPasteboard.general.string = model.copy(row.id) }
  }

  private func button(_ key: String, _ symbol: String, run: @escaping () -> Void) -> some View {
    Button(text(key), systemImage: symbol, action: run).labelStyle(.iconOnly).buttonStyle(.borderless)
  }
}

/// What a model wrote, line by line.
private struct MarkdownView: View {
  let source: String

  var body: some View {
    VStack(alignment: .leading, spacing: 4) {
      ForEach(Array(markdown(source).enumerated()), id: \.offset) { _, line in
        switch line.kind {
        case .heading(let level): styled(line).font(level == 1 ? .title3.bold() : .headline)
        case .bullet(let depth):
          HStack(alignment: .firstTextBaseline, spacing: 6) {
            Text(verbatim: "•").foregroundStyle(.secondary)
            styled(line)
          }
          .padding(.leading, CGFloat(depth) * 16)
        case .code, .text: styled(line)
        }
      }
    }
    .textSelection(.enabled)
    .accessibilityElement(children: .ignore)
  }

  private func styled(_ line: MarkdownLine) -> Text {
    line.spans.map(styled).reduce(Text(verbatim: ""), +)
  }

  private func styled(_ span: MarkdownLine.Span) -> Text {
    let part = Text(verbatim: span.text)
    return switch span.style {
    case .plain: part
    case .bold: part.bold()
    case .italic: part.italic()
    case .code: part.monospaced()
    }
  }
}
