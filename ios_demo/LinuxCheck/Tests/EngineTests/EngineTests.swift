import XCTest

@testable import MlpDemo

final class EngineTests: XCTestCase {}
