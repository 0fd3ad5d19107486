/// A regular expression that finds the words of a text, on bytes of UTF-8. Foundation's would do it on UTF-16, takes much
/// longer, and means other characters by some classes.
struct Pattern: Sendable {
  private enum Step: Sendable {
    case one(ScalarSet)
    case many(ScalarSet, least: Int, most: Int, isPossessive: Bool)  // as many as there are, then fewer
    case either(Int, Int)  // steps to go on with; the first one first
    case jump(Int)
    case look(end: Int, isNegated: Bool)  // at what follows
    case start  // of the text
    case atomic(end: Int)
    case done
  }

  private static let mostSteps = 20_000

  private var steps: [Step] = []

  /// Throws `UnknownTokenizer` for what is not known to mean here what Oniguruma means.
  init(_ source: String) throws {
    try add(PatternParser.parse(source))
    steps.append(.done)
  }

  /// The pattern of the text itself.
  init(literal: String) {
    steps = literal.unicodeScalars.map { .one(ScalarSet([.range($0.value...$0.value)])) } + [.done]
  }

  /// The pattern of one scalar of `set`.
  init(_ set: ScalarSet) { steps = [.one(set), .done] }

  /// Matches from left to right, none in another; empty ones too.
  func matches(_ bytes: UnsafeBufferPointer<UInt8>) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var run = Run(bytes: bytes)
    var start = 0
    while start <= bytes.count {
      guard let end = match(&run, 0, start) else {
        start += start < bytes.count ? Utf8.length(bytes[start]) : 1
        continue
      }
      result.append(start..<end)
      start = end > start ? end : end < bytes.count ? end + Utf8.length(bytes[end]) : end + 1
    }
    return result
  }
}

extension Pattern {
  private mutating func add(_ node: PatternParser.Node) throws {
    guard steps.count <= Self.mostSteps else { throw UnknownTokenizer("a pattern is too large") }
    switch node {
    case .one(let set): steps.append(.one(set))
    case .sequence(let parts): for part in parts { try add(part) }
    case .alternatives(let all): try addAlternatives(all[...])
    case .start: steps.append(.start)
    case .look(let inner, let isNegated): try addInner(inner) { .look(end: $0, isNegated: isNegated) }
    case .repeated(.one(let set), let times) where times.manner != .reluctant:
      steps.append(
        .many(set, least: times.least, most: times.most ?? .max, isPossessive: times.manner == .possessive))
    case .repeated(let inner, var times) where times.manner == .possessive:
      times.manner = .greedy
      try addInner(.repeated(inner, times)) { .atomic(end: $0) }
    case .repeated(let inner, let times): try addRepeated(inner, times)
    }
  }

  /// `inner` as an expression of its own, behind the step that runs it.
  private mutating func addInner(_ inner: PatternParser.Node, _ step: (Int) -> Step) throws {
    let place = steps.count
    steps.append(.done)
    try add(inner)
    steps.append(.done)
    steps[place] = step(steps.count)
  }

  private mutating func addAlternatives(_ all: ArraySlice<PatternParser.Node>) throws {
    guard let first = all.first else { return }
    if all.count == 1 { return try add(first) }
    let choice = steps.count
    steps.append(.done)
    try add(first)
    let jump = steps.count
    steps.append(.done)
    steps[choice] = .either(choice + 1, steps.count)
    try addAlternatives(all.dropFirst())
    steps[jump] = .jump(steps.count)
  }

  private mutating func addRepeated(_ inner: PatternParser.Node, _ times: PatternParser.Repeat) throws {
    // It would go round for ever, and engines differ in how they end that.
    if times.most == nil, inner.canBeEmpty { throw UnknownTokenizer("a pattern repeats what may be empty") }
    for _ in 0..<times.least { try add(inner) }
    var choices: [Int] = []
    for _ in 0..<(times.most.map { $0 - times.least } ?? 1) {
      choices.append(steps.count)
      steps.append(.done)
      try add(inner)
    }
    if times.most == nil, let start = choices.first { steps.append(.jump(start)) }
    for choice in choices {
      steps[choice] = times.manner == .greedy ? .either(choice + 1, steps.count) : .either(steps.count, choice + 1)
    }
  }
}

extension Pattern {
  /// Where to go on when what was tried does not match. With `least`, any scalar between it and `at` is a place.
  private struct Way {
    var step: Int
    var at: Int
    var least: Int
  }

  private struct Run {
    let bytes: UnsafeBufferPointer<UInt8>
    var ways: [Way] = []
  }

  /// The end of what matches at `start`, from `step` on.
  private func match(_ run: inout Run, _ step: Int, _ start: Int) -> Int? {
    let bottom = run.ways.count
    defer { run.ways.removeSubrange(bottom...) }
    var (step, at) = (step, start)
    while true {
      var fits = true
      switch steps[step] {
      case .done: return at
      case .one(let set):
        fits = at < run.bytes.count && set.contains(Utf8.scalar(run.bytes, at))
        if fits { at += Utf8.length(run.bytes[at]) }
        step += 1
      case .many(let set, let least, let most, let isPossessive):
        let (fewest, all) = count(run.bytes, at, set, least, most)
        step += 1
        fits = fewest != nil
        if let fewest {
          if !isPossessive, all > fewest {
            run.ways.append(Way(step: step, at: Utf8.before(run.bytes, all), least: fewest))
          }
          at = all
        }
      case .either(let first, let second):
        run.ways.append(Way(step: second, at: at, least: at))
        step = first
      case .jump(let target): step = target
      case .start:
        fits = at == 0
        step += 1
      case .look(let end, let isNegated):
        fits = (match(&run, step + 1, at) != nil) != isNegated
        step = end
      case .atomic(let end):
        let inner = match(&run, step + 1, at)
        fits = inner != nil
        at = inner ?? at
        step = end
      }
      if fits { continue }
      guard run.ways.count > bottom, let way = run.ways.popLast() else { return nil }
      (step, at) = (way.step, way.at)
      if at > way.least {
        run.ways.append(Way(step: step, at: Utf8.before(run.bytes, at), least: way.least))
      }
    }
  }

  /// Ends of `least` and of all scalars of `set` from `at` on, `most` of them; the first is nil where there are fewer.
  private func count(
    _ bytes: UnsafeBufferPointer<UInt8>, _ at: Int, _ set: ScalarSet, _ least: Int, _ most: Int
  ) -> (Int?, Int) {
    var (end, found) = (at, 0)
    var fewest = least == 0 ? at : nil
    while found < most, end < bytes.count, set.contains(Utf8.scalar(bytes, end)) {
      end += Utf8.length(bytes[end])
      found += 1
      if found == least { fewest = end }
    }
    return (fewest, end)
  }
}
