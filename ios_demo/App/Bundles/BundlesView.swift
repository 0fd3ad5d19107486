import MlpCore
import SwiftUI
import UniformTypeIdentifiers

/// The bundles on this device, what each is, whether it runs here and if not why not.
struct BundlesView: View {
  @Bindable var model: BundlesModel
  @State private var details: DetailsOfBundle?
  @Environment(\.scenePhase) private var phase

  var body: some View {
    List {
      Section {
        Text(model.deviceLine).font(.footnote).foregroundStyle(.secondary)
        if let unreadable = model.unreadable { Label(unreadable, systemImage: "exclamationmark.circle") }
      }
      if model.library.importing != nil { Section { ImportView(model: model) } }
      if model.isEmpty { NoModelView(pick: model.pick) }
      ForEach(model.library.items ?? []) { item in
        Section {
          BundleRow(model: model, item: item) {
            details = item.entry.bundle.map(DetailsOfBundle.init)
          }
        }
      }
    }
    .navigationTitle(text("bundles.title"))
    .toolbar {
      ToolbarItem(placement: .primaryAction) {
        Button(action: model.pick) { Label(text("bundles.import"), systemImage: "square.and.arrow.down") }
          .disabled(!model.canImport)
      }
    }
    .refreshable { await model.library.refresh() }
    .task { await model.library.refresh() }
    // Finder or a cable may have brought a model meanwhile.
    .onChange(of: phase) { _, phase in
      if phase == .active { Task { await model.library.refresh() } }
    }
    .onChange(of: model.library.items) { _, _ in model.proceed() }
    .onChange(of: model.library.isImportOver) { _, _ in model.tellImport() }
    .fileImporter(
      isPresented: $model.isPicking, allowedContentTypes: [.folder, .item], allowsMultipleSelection: true
    ) { result in
      model.picked(result, access: CoordinatedFiles())
    }
    .sheet(item: $model.license, onDismiss: model.closeLicense) { license in
      LicenseView(license: license, accept: model.acceptLicense, close: model.closeLicense)
    }
    .sheet(item: $details) { BundleDetailView(details: BundleDetails($0.bundle)) }
    .alert(model.notice?.title ?? "", isPresented: isShown($model.notice)) {
      Button(text("bundles.ok")) { model.notice = nil }
    } message: {
      Text(model.notice?.text ?? "")
    }
    .confirmationDialog(
      model.deletion?.question ?? "", isPresented: isShown($model.deletion), titleVisibility: .visible,
      presenting: model.deletion
    ) { deletion in
      Button(text("bundles.delete"), role: .destructive) { Task { await model.delete(deletion) } }
      Button(text("bundles.cancel"), role: .cancel) { model.deletion = nil }
    } message: { deletion in
      Text(deletion.explanation)
    }
  }

  private func isShown<Value>(_ value: Binding<Value?>) -> Binding<Bool> {
    Binding(get: { value.wrappedValue != nil }, set: { if !$0 { value.wrappedValue = nil } })
  }
}

/// The bundle whose details are shown.
private struct DetailsOfBundle: Identifiable {
  let bundle: ModelBundle

  var id: String { bundle.name }
}
