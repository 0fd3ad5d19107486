extension Json {
  /// null for nil.
  static func text(_ value: String?) -> Json { value.map(Json.string) ?? .null }

  static func number(_ value: Double?) -> Json {
    guard let value, value.isFinite else { return .null }
    return .double(value)
  }

  static func number(_ value: Int?) -> Json { value.map { .integer(Int64($0)) } ?? .null }

  static func number(_ value: Int64?) -> Json { value.map(Json.integer) ?? .null }
}
