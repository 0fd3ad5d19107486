import Foundation

/// One line of what a model wrote, with its marks read.
public struct MarkdownLine: Equatable, Sendable {
  public enum Kind: Equatable, Sendable {
    case text
    case heading(level: Int)
    case bullet(depth: Int)
    case code
  }

  public struct Span: Equatable, Sendable {
    public enum Style: Sendable { case plain, bold, italic, code }
    public var text: String
    public var style: Style
  }

  public var kind: Kind
  public var spans: [Span]
  public var plain: String { spans.map(\.text).joined() }
}

/// What models write of Markdown: headings, bullets, bold, italic, code. All else stays as it is, and so does a mark
/// whose end is not there (yet).
public func markdown(_ text: String) -> [MarkdownLine] {
  var lines: [MarkdownLine] = []
  var isInBlock = false
  // By the scalar: CR LF is one Character.
  for line in text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
    if line.unicodeScalars.drop(while: { $0 == " " || $0 == "\t" }).starts(with: "```".unicodeScalars) {
      isInBlock.toggle()
    } else if isInBlock {
      lines.append(MarkdownLine(kind: .code, spans: [.init(text: line, style: .code)]))
    } else {
      lines.append(markdownLine(line))
    }
  }
  return lines
}

private func markdownLine(_ line: String) -> MarkdownLine {
  if let marks = Marks.heading.groups(of: line) {
    return MarkdownLine(kind: .heading(level: marks[0].utf8.count), spans: spans(marks[1]))
  }
  if let marks = Marks.bullet.groups(of: line) {
    return MarkdownLine(kind: .bullet(depth: marks[0].utf8.count / 2), spans: spans(marks[1]))
  }
  return MarkdownLine(kind: .text, spans: spans(line))
}

private func spans(_ text: String) -> [MarkdownLine.Span] {
  let whole = text as NSString
  var spans: [MarkdownLine.Span] = []
  var from = 0
  func add(_ range: NSRange, _ style: MarkdownLine.Span.Style) {
    if range.length > 0 { spans.append(.init(text: whole.substring(with: range), style: style)) }
  }
  for match in Marks.inline.matches(in: text) {
    add(NSRange(location: from, length: match.range.location - from), .plain)
    for (group, style) in [(1, MarkdownLine.Span.Style.code), (2, .bold), (3, .italic)] {
      let range = match.range(at: group)
      if range.location != NSNotFound { add(range, style) }
    }
    from = match.range.location + match.range.length
  }
  add(NSRange(location: from, length: whole.length - from), .plain)
  return spans
}

private enum Marks {
  static let heading = MarkPattern(#"^(#{1,6})\s+(.+?)\s*#*$"#)
  static let bullet = MarkPattern(#"^(\s*)[-*+]\s+(.*)$"#)
  static let inline = MarkPattern(
    #"`([^`]+)`|\*\*([^*\s](?:.*?[^*\s])?)\*\*|(?<![\w*])\*([^*\s](?:[^*]*?[^*\s])?)\*(?![\w*])"#)
}

private struct MarkPattern: Sendable {
  private let expression: NSRegularExpression?

  init(_ pattern: String) { expression = try? NSRegularExpression(pattern: pattern) }

  func matches(in text: String) -> [NSTextCheckingResult] {
    expression?.matches(in: text, range: NSRange(location: 0, length: text.utf16.count)) ?? []
  }

  /// The first two groups of the first match.
  func groups(of text: String) -> [String]? {
    guard let match = matches(in: text).first else { return nil }
    return [1, 2].map { (text as NSString).substring(with: match.range(at: $0)) }
  }
}
