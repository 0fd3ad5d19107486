import Foundation
import XCTest

@testable import MlpCore

final class SentencesTests: XCTestCase {
  private func all() -> [String] {
    let problems = BundleProblem.allCases.map { sentence(BundleError($0, "XYZ")) }
    let fits = DeviceFit.Kind.allCases.map { sentence(DeviceFit.Reason(kind: $0, found: "1000", expected: "2000")) }
    let failures = EngineFailure.Kind.allCases.map { sentence(EngineFailure(kind: $0, code: 0x12, detail: "XYZ")) }
    let prompts = [PromptProblem.empty, .tooLong, .specialToken, .noSystemRole].map {
      sentence(PromptError($0, detail: "XYZ", tokens: TokenCount(3000, isExact: true), context: 2048))
    }
    let others: [any Error] = [
      NoSpaceError(needed: 2000, free: 1000, purpose: .copy), NoSpaceError(needed: 2000, free: 1000, purpose: .compile),
      StorageError(isFull: true, detail: "XYZ"), StorageError(isFull: false, detail: "XYZ"),
      NSError(domain: NSURLErrorDomain, code: -1009), CocoaError(.fileReadNoPermission), CocoaError(.fileNoSuchFile),
      NSError(domain: NSPOSIXErrorDomain, code: 28), NSError(domain: "other", code: 7),
    ]
    return problems + fits + failures + prompts + others.map { sentence($0) }
  }

  func testEachProblemHasItsOwnWholeSentence() {
    let sentences = all()
    XCTAssertEqual(38, sentences.count)
    XCTAssertEqual(sentences.count, Set(sentences).count)
    for sentence in sentences {
      XCTAssertFalse(sentence.contains("%"), sentence)
      XCTAssertTrue(sentence.hasSuffix("."), sentence)
      XCTAssertTrue(sentence.contains(" "), sentence)
    }
  }

  func testBothLanguagesHaveThem() throws {
    let english = try strings("en")
    let german = try strings("de")
    let areas = ["bundles.", "bundle.", "license.", "help.", "problem.", "fit.", "failure.", "prompt."]
    let keys = english.keys.filter { key in areas.contains { key.hasPrefix($0) } }
    XCTAssertGreaterThan(keys.count, 100)
    for key in keys {
      let other = try XCTUnwrap(german[key], key)
      XCTAssertEqual(placeholders(english[key] ?? ""), placeholders(other), key)
      let isSentence = ["problem.", "fit.", "prompt."].contains { key.hasPrefix($0) } && key != "fit.nothing"
      if isSentence {
        XCTAssertNotEqual(english[key], other, key)
        XCTAssertTrue(other.hasSuffix("."), key)
      }
    }
  }

  private func strings(_ language: String) throws -> [String: String] {
    let file = try XCTUnwrap(
      Bundle.module.url(
        forResource: "Localizable", withExtension: "strings", subdirectory: nil, localization: language))
    let list = try PropertyListSerialization.propertyList(from: Data(contentsOf: file), format: nil)
    return try XCTUnwrap(list as? [String: String])
  }

  private func placeholders(_ text: String) -> Set<String> {
    Set((1...4).map { "%\($0)$@" }.filter(text.contains))
  }

  func testNumbersAreFilledIn() {
    XCTAssertEqual(
      "model.pte has 17 bytes where the manifest says 3,000: it was copied in part. Copy or import the bundle again.",
      sentence(BundleError(.wrongSize, "model.pte: 17 of 3000")))
    XCTAssertTrue(sentence(BundleError(.wrongSize, "odd")).contains("(odd)"))
    let memory = DeviceFit.Reason(kind: .tooLittleMemory, found: "4000000000", expected: "5000000000")
    XCTAssertTrue(sentence(memory).hasPrefix("It needs 5.0\u{A0}GB of memory, and this device has 4.0\u{A0}GB."))
    let backend = DeviceFit.Reason(kind: .missingBackend, found: "", expected: "coreml")
    XCTAssertTrue(sentence(backend).contains("(none)"))
    let system = DeviceFit.Reason(kind: .oldSystem, found: "iOS 17.5", expected: "iOS 18")
    XCTAssertTrue(sentence(system).hasPrefix("It needs iOS 18, and this device has iOS 17.5."))
    let android = DeviceFit.Reason(kind: .otherSystem, found: "iOS", expected: "Android")
    XCTAssertTrue(sentence(android).hasPrefix("It is made for Android, and this is iOS."))
    let simulator = DeviceFit.Reason(kind: .simulator, found: "cpu_and_ne", expected: "cpu_only")
    XCTAssertTrue(sentence(simulator).contains("compiled for cpu_and_ne"))
    XCTAssertTrue(sentence(simulator).contains("--compute-unit cpu_only"))
  }

  func testCodesKeepTheirNumber() {
    XCTAssertTrue(sentence(EngineFailure(kind: .unknown, code: 5000, detail: "")).contains("(error 0x1388)"))
    XCTAssertTrue(sentence(EngineFailure(kind: .unknown, code: -1, detail: "no.")).contains("(no, error -1)"))
    XCTAssertTrue(sentence(EngineFailure(kind: .unknown, code: nil, detail: "")).contains("(no details)"))
  }

  func testPromptThatIsTooLongSaysByHowMuch() {
    let exact = sentence(PromptError(.tooLong, tokens: TokenCount(2048, isExact: true), context: 2048))
    XCTAssertTrue(exact.contains("has 2,048 tokens, and the model’s context holds 2,048. Shorten it by at least 1 "))
    let estimate = sentence(PromptError(.tooLong, tokens: TokenCount(3000, isExact: false), context: 2048))
    XCTAssertTrue(estimate.contains("about 3,000"))
    XCTAssertTrue(sentence(PromptError(.tooLong)).hasPrefix("The text is longer than the model’s context."))
  }

  func testCausesInsideOfErrorsAreFound() {
    let cause = NSError(domain: "NSFileProviderErrorDomain", code: -1004)
    let outer = NSError(domain: NSCocoaErrorDomain, code: 256, userInfo: [NSUnderlyingErrorKey: cause])
    XCTAssertTrue(sentence(outer).contains("its provider cannot be reached"))
    XCTAssertTrue(sentence(NSError(domain: "other", code: 7)).contains("(other 7)"))
  }

  func testSizesAndNumbers() {
    let sizes: [Int64: String] = [
      0: "0\u{A0}B", 999: "999\u{A0}B", 1000: "1.0\u{A0}kB", 77_935_488: "77.9\u{A0}MB", 999_949: "999.9\u{A0}kB",
      999_950: "1.0\u{A0}MB", 1_500_000_000: "1.5\u{A0}GB", 5_000_000_000_000_000: "5,000.0\u{A0}TB",
    ]
    for (bytes, text) in sizes { XCTAssertEqual(text, formattedSize(bytes)) }
    XCTAssertEqual("1,234,567", formatted(1_234_567))
    XCTAssertEqual("3.14", formatted(3.14159, digits: 2))
  }

  func testNoncommercialLicensesAreKnown() {
    for license in ["FAIR NC", "fair-noncommercial-research-license", "cc-by-nc-4.0", "Non-Commercial"] {
      XCTAssertTrue(AcceptedLicenses.isNoncommercial(license), license)
    }
    for license in ["Apache-2.0", "MIT", "ncsa", nil] {
      XCTAssertFalse(AcceptedLicenses.isNoncommercial(license), license ?? "nil")
    }
  }
}
