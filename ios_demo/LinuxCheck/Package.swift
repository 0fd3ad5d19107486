// swift-tools-version: 6.0
import PackageDescription

// The app's own sources (App, Engine: links), built against stand-ins of Apple's and ExecuTorch's modules, on Linux.
// The stand-ins repeat public declarations by hand: they show that the app is consistent, not that Apple's SDK agrees.
let standIn: [SwiftSetting] = [.swiftLanguageMode(.v5)]

let package = Package(
  name: "LinuxCheck",
  dependencies: [.package(path: "../MlpCore")],
  targets: [
    .target(name: "ExecuTorch"),
    .target(name: "ExecuTorchLLM"),
    .target(name: "UniformTypeIdentifiers", swiftSettings: standIn),
    .target(name: "CoreTransferable", dependencies: ["UniformTypeIdentifiers"], swiftSettings: standIn),
    .target(name: "UIKit", swiftSettings: standIn),
    .target(
      name: "SwiftUI", dependencies: ["UIKit", "UniformTypeIdentifiers", "CoreTransferable"], swiftSettings: standIn),
    .target(name: "AppIntents", swiftSettings: standIn),
    .target(
      name: "ShareExtension",
      dependencies: ["SwiftUI", "UIKit", "UniformTypeIdentifiers", .product(name: "MlpCore", package: "MlpCore")],
      exclude: ["de.lproj", "en.lproj", "PrivacyInfo.xcprivacy"], swiftSettings: [.swiftLanguageMode(.v5)]),
    .executableTarget(
      name: "MlpDemo",
      dependencies: [
        "AppIntents", "ExecuTorch", "ExecuTorchLLM", "SwiftUI", "UIKit", .product(name: "MlpCore", package: "MlpCore"),
      ],
      swiftSettings: [.swiftLanguageMode(.v5)]),  // as in the Xcode project
    .testTarget(
      name: "EngineTests",
      dependencies: ["MlpDemo", "ExecuTorchLLM", .product(name: "MlpFixtures", package: "MlpCore")],
      swiftSettings: [.swiftLanguageMode(.v5)]),
    // On ExecuTorch's own runner, which ios_demo/tools/text_runner.py serves.
    .testTarget(
      name: "RealRuntimeTests",
      dependencies: ["MlpDemo", "ExecuTorchLLM", .product(name: "MlpCore", package: "MlpCore")],
      swiftSettings: [.swiftLanguageMode(.v5)]),
    // What Xcode runs inside the app, on the Simulator; here only compiled, as it has no bundle to ask.
    .testTarget(
      name: "MlpDemoTests", dependencies: ["MlpDemo", .product(name: "MlpCore", package: "MlpCore")],
      swiftSettings: [.swiftLanguageMode(.v5)]),
  ]
)
