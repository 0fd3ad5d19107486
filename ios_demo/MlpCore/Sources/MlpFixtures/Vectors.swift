import Foundation
import MlpCore

/// The file `name` of tests/vectors, whose cases Python and Kotlin run as well. The variable VECTORS names the folder;
/// without it, that of the repository which this file was compiled in.
public func vectors(_ name: String) throws -> JsonFields {
  let source = URL(fileURLWithPath: #filePath)  // ios_demo/MlpCore/Sources/MlpFixtures/Vectors.swift
  let root = (0..<5).reduce(source) { url, _ in url.deletingLastPathComponent() }
  let folder = ProcessInfo.processInfo.environment["VECTORS"].flatMap { $0.isEmpty ? nil : URL(fileURLWithPath: $0) }
  let file = (folder ?? root.appendingPathComponent("tests/vectors")).appendingPathComponent(name)
  guard let text = String(validating: try Data(contentsOf: file), as: UTF8.self),
    case .object(let object) = try Json.parse(text)
  else { throw JsonError("", "\(file.path) is no JSON object") }
  return JsonFields(object)
}

/// The file `name` of tests/vectors with its list "cases".
public func vectorCases(_ name: String) throws -> [JsonFields] { try vectors(name).list("cases") }
