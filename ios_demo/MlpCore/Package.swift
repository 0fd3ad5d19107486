// swift-tools-version: 6.0
import PackageDescription

// Everything of the app that can be decided without Apple's SDK. No dependencies: it is tested on Linux as well.
let package = Package(
  name: "MlpCore",
  defaultLocalization: "en",
  platforms: [.iOS(.v18), .macOS(.v15)],
  products: [
    .library(name: "MlpCore", targets: ["MlpCore"]),
    .library(name: "MlpFixtures", targets: ["MlpFixtures"]),
  ],
  targets: [
    .target(name: "MlpCore", resources: [.process("Resources")]),
    // An engine with the habits of the real one, for the tests of the core and of the app.
    .target(name: "MlpFixtures", dependencies: ["MlpCore"]),
    .testTarget(name: "MlpCoreTests", dependencies: ["MlpCore", "MlpFixtures"]),
  ]
)
