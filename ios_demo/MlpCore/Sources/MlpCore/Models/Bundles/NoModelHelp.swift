/// How to get the first model onto the device.
public struct NoModelHelp: Sendable {
  public struct Way: Sendable, Identifiable {
    public var id: String
    public var symbol: String  // name of an SF Symbol
    public var title: String
    public var text: String
    public var command: String?  // to be typed on a computer
  }

  public let title = text("help.title")
  public let intro = text("help.intro")
  public let ways = [
    Way(
      id: "push", symbol: "terminal", title: text("help.push"), text: text("help.pushText"),
      command: "mlp-export push BUNDLE --device ios"),
    Way(id: "finder", symbol: "macwindow", title: text("help.finder"), text: text("help.finderText"), command: nil),
    Way(id: "files", symbol: "folder", title: text("help.files"), text: text("help.filesText"), command: nil),
  ]

  public init() {}
}
