import Observation

/// A bundle's license: before the first use with Accept and Decline, later to read it again.
@MainActor
@Observable
public final class LicenseModel: Identifiable {
  public let bundle: ModelBundle
  public let title: String
  public let intro: String
  public let isNoncommercial: Bool
  /// The license's text, or that it cannot be read.
  public let text: String
  /// Whether there is a choice to make.
  public let asks: Bool
  /// What cannot be read cannot be agreed to.
  public let canAccept: Bool

  private let licenses: AcceptedLicenses

  public init(_ bundle: ModelBundle, _ licenses: AcceptedLicenses) {
    self.bundle = bundle
    self.licenses = licenses
    let name = modelName(bundle.manifest)
    let license = bundle.manifest.model.license
    let words = AcceptedLicenses.text(bundle)
    asks = !licenses.isAccepted(bundle)
    title = MlpCore.text("license.title", name)
    intro = MlpCore.text(
      asks ? "license.intro" : "license.read", name, license ?? MlpCore.text("license.unnamed"))
    isNoncommercial = AcceptedLicenses.isNoncommercial(license)
    text = words ?? MlpCore.text("license.missing")
    canAccept = words != nil
  }

  public func accept() { if canAccept { licenses.accept(bundle) } }
}
