import Foundation

/// Numbers are written in the language of the texts around them.
private var locale: Locale { Locale(identifier: text("locale")) }

/// "1,024".
public func formatted(_ number: some BinaryInteger) -> String {
  Int64(clamping: number).formatted(.number.locale(locale))
}

/// "3.1".
public func formatted(_ number: Double, digits: Int) -> String {
  number.formatted(.number.precision(.fractionLength(digits)).locale(locale))
}

/// "77.9 MB", in powers of ten as the system shows sizes.
public func formattedSize(_ bytes: Int64) -> String {
  let units = ["B", "kB", "MB", "GB", "TB"]
  var value = Double(bytes)
  var unit = 0
  // What would round to 1000 is 1 of the next unit.
  while abs(value) >= (unit == 0 ? 1000 : 999.95), unit < units.count - 1 {
    value /= 1000
    unit += 1
  }
  return formatted(value, digits: unit == 0 ? 0 : 1) + "\u{A0}" + units[unit]
}
