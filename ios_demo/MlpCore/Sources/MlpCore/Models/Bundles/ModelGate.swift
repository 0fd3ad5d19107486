import Foundation
import Observation

/// Which model a screen asks that was not opened for one, and what stands before it: the check of its files, its
/// license.
@MainActor
@Observable
public final class ModelGate {
  enum Admission {
    case wait
    case refused(String)
    case admitted(ModelBundle)
  }

  /// A license that has to be accepted first. Its screen ends with `closeLicense`.
  public private(set) var license: LicenseModel?

  private var chosen: String?
  private let services: BundleServices

  init(_ services: BundleServices) { self.services = services }

  /// The models that there are to choose from.
  public var models: [BundleLibrary.Item] { services.library.candidates }

  /// nil where none can answer, or before the disk was looked at.
  public var item: BundleLibrary.Item? {
    models.first { $0.entry.name == chosen } ?? services.choice.choose(services.library)
  }

  public var title: String { item.map { BundleSummary.title($0.entry) } ?? text("task.noModelTitle") }

  var bundle: ModelBundle? { item?.entry.bundle }

  public func choose(_ name: String) { chosen = name }

  /// Looks at the disk where that was not done yet, or where the check of the files may have ended without a result.
  func list() async {
    if services.library.items == nil || item?.isChecked == false { await services.library.refresh() }
  }

  /// Whether the chosen model may be asked, after what is to be done first was begun.
  func admit() -> Admission {
    if services.library.items == nil || license != nil { return .wait }
    return item.map(admit) ?? .refused(text("task.noModel"))
  }

  /// The same for `bundle`, which may be gone by now.
  func admit(_ bundle: ModelBundle) -> Admission {
    if license != nil { return .wait }
    let item = models.first { $0.entry.bundle == bundle }
    return item.map(admit) ?? .refused(text("bundles.notFound", bundle.name))
  }

  private func admit(_ item: BundleLibrary.Item) -> Admission {
    guard let bundle = item.entry.bundle else { return .refused(text("task.noModel")) }
    if !item.isChecked { return .wait }
    if services.licenses.isAccepted(bundle) { return .admitted(bundle) }
    license = LicenseModel(bundle, services.licenses)
    return .wait
  }

  /// Whether the license was accepted.
  func closeLicense() -> Bool {
    guard let bundle = license?.bundle else { return false }
    license = nil
    return services.licenses.isAccepted(bundle)
  }

  func used(_ bundle: ModelBundle) { services.choice.used(bundle.name) }

  /// How far the check of the model's files is, nil where it is done.
  var check: WorkStatus.Line? {
    guard let item, !item.isChecked else { return nil }
    let progress = services.library.checking.flatMap { $0.name == item.entry.name ? $0 : nil }
    return WorkStatus.Line(
      text: text("work.checking", formatted(progress?.percent ?? 0)), fraction: progress?.fraction ?? 0)
  }

  /// Calls `changed` when another answer of `admit` can be expected.
  func follow(_ changed: @escaping @MainActor () -> Void) -> Follower {
    Follower({ [services] in (_, _) = (services.library.items, services.library.checking) }, changed: changed)
  }
}
