import Foundation

/// A text that people read, in their language: `key` of Resources/*.lproj/Localizable.strings. Placeholders are
/// `%1$@`, `%2$@`, ...; each takes one of `values`.
public func text(_ key: String, _ values: String...) -> String {
  var text = Bundle.module.localizedString(forKey: key, value: key, table: nil)
  for (index, value) in values.enumerated() {
    text = text.replacingOccurrences(of: "%\(index + 1)$@", with: value)
  }
  return text
}
