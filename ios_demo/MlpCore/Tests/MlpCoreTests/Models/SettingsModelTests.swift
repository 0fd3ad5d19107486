import MlpFixtures
import XCTest

@testable import MlpCore

final class SettingsModelTests: ChatTestCase {
  func testWhatIsSetIsKeptForTheNextStart() async throws {
    try await start()
    let model = SettingsModel(app, bundle: "smol")
    XCTAssertEqual([model.systemPrompt, model.maxTokens, model.temperatureText], ["", "128", "0.0"])
    model.systemPrompt = " Be brief. "
    model.temperature = 0.30000001
    model.maxTokens = "64"
    model.save()
    let again = AppModel.test(in: try XCTUnwrap(folder).url, engines: engines.make)
    XCTAssertEqual(
      again.settings["smol"], GenerationSettings(systemPrompt: "Be brief.", temperature: 0.3, maxNewTokens: 64))
    XCTAssertEqual(again.settings["other"], GenerationSettings())
  }

  func testAWrongNumberIsSaidAndNotKept() async throws {
    try await start()
    app.settings["smol"] = GenerationSettings(maxNewTokens: 99)
    let model = SettingsModel(app, bundle: "smol")
    for wrong in ["", "0", "129", "-1", "many"] {
      model.maxTokens = wrong
      XCTAssertTrue(model.isMaxTokensWrong, wrong)
      XCTAssertEqual(model.maxTokensAbout, "A number from 1 to 128 is needed; this one will not be kept.")
    }
    model.save()
    XCTAssertEqual(app.settings["smol"].maxNewTokens, 99)
    model.maxTokens = "128"
    XCTAssertFalse(model.isMaxTokensWrong)
  }

  func testTheTemplatesOwnPromptIsNotStored() async throws {
    var chat = chatml
    chat.defaultSystem = "You are SmolLM."
    try await start(manifest(chat: chat))
    let model = SettingsModel(app, bundle: "smol")
    XCTAssertEqual(model.systemPrompt, "You are SmolLM.")
    model.save()
    XCTAssertNil(app.settings["smol"].systemPrompt)
    model.systemPrompt = ""
    model.save()
    XCTAssertEqual(app.settings["smol"].systemPrompt, "", "none is a choice, too")
    model.reset()
    XCTAssertEqual(model.systemPrompt, "You are SmolLM.")
  }

  func testAModelWithoutASystemRoleSaysSo() async throws {
    var chat = chatml
    chat.systemPrefix = nil
    try await start(manifest(chat: chat))
    let model = SettingsModel(app, bundle: "smol")
    XCTAssertFalse(model.takesSystemPrompt)
    XCTAssertEqual(model.systemPromptAbout, "This model takes no system prompt.")
  }
}
