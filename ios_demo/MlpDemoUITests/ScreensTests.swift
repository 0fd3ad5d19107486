import XCTest

/// The app starts in its languages and with large text; each picture is kept as an attachment of the test.
@MainActor
final class ScreensTests: XCTestCase {
  private func start(_ language: String, _ arguments: [String] = []) -> XCUIApplication {
    continueAfterFailure = false
    let app = XCUIApplication()
    app.launchArguments = ["-AppleLanguages", "(\(language))"] + arguments
    app.launch()
    XCTAssertTrue(app.navigationBars.firstMatch.waitForExistence(timeout: 60), "no screen")
    return app
  }

  private func picture(_ name: String) {
    let attachment = XCTAttachment(screenshot: XCUIScreen.main.screenshot())
    attachment.name = name
    attachment.lifetime = .keepAlways
    add(attachment)
  }

  /// The first start has no model, so that the list of models is shown.
  private func check(_ language: String, title: String) {
    let app = start(language)
    XCTAssertTrue(app.navigationBars[title].waitForExistence(timeout: 10), "no “\(title)”")
    picture("start-\(language)")
  }

  func testStartsInEnglish() { check("en", title: "Models") }

  func testStartsInGerman() { check("de", title: "Modelle") }

  func testStartsWithLargeText() {
    _ = start("en", ["-UIPreferredContentSizeCategoryName", "UICTContentSizeCategoryAccessibilityXXXL"])
    picture("start-large-text")
  }
}
