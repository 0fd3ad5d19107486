import XCTest

@testable import MlpCore

final class TokenTablesTests: XCTestCase {
  func testVocabularyThatGrows() {
    var vocabulary = Vocabulary()
    let count = 50_000
    for id in 0..<count { vocabulary.put(Array("token\(id) ü".utf8), id) }
    vocabulary.put(Array("token7 ü".utf8), 99)
    XCTAssertEqual(count, vocabulary.count)
    XCTAssertEqual(99, vocabulary.id("token7 ü"))
    XCTAssertNil(vocabulary.id("token"))
    XCTAssertNil(vocabulary.id(""))
    for id in 8..<count where vocabulary.id("token\(id) ü") != id { XCTFail("\(id)") }
  }

  func testMergesThatGrow() {
    var merges = Merges()
    let count = 50_000
    for id in 0..<count { merges.add(id, id * 31 % count, id) }
    for id in 0..<count {
      let found = merges.find(id, id * 31 % count)
      if found?.rank != id || found?.result != id { XCTFail("\(id)") }
    }
    XCTAssertNil(merges.find(count, 0))
    merges.add(3, 93, 5)
    XCTAssertEqual(count, merges.find(3, 93)?.rank)
    XCTAssertEqual(5, merges.find(3, 93)?.result)
  }

  func testHeapGivesTheSmallestFirst() {
    var heap = MinHeap()
    XCTAssertNil(heap.pop())
    for value in [5, 3, 9, 3, 1, 7, 2] { heap.push(value) }
    var popped: [Int] = []
    while let value = heap.pop() { popped.append(value) }
    XCTAssertEqual([1, 2, 3, 3, 5, 7, 9], popped)
  }
}
