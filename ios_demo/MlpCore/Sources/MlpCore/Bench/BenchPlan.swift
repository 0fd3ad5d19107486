/// What is to be measured: the launch argument behind `--bench`, as mlp_export/data/device_bench.schema.json has it.
struct BenchPlan: Equatable, Sendable {
  var id: String  // names the result: ID.json
  var bundle: String  // the folder's name
  var promptTokens: [Int]
  var newTokens: Int
  var repetitions: Int
  var sustainedSeconds: Int
}
