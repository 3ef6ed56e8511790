// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Collections whose count is not the number of their elements. Memory is taken for the count,
// so believing it would write behind an array, or show what lay there before.

import Mutator
import TestSupport
import Testing

/// A collection that says it has three elements.
private struct Miscounted<Element>: Collection {
  let elements: [Element]
  /// It hands out its memory; otherwise its elements come one by one.
  let isContiguous: Bool

  var count: Int { 3 }
  var startIndex: Int { 0 }
  var endIndex: Int { elements.count }
  func index(after index: Int) -> Int { index + 1 }
  subscript(index: Int) -> Element { elements[index] }
  func makeIterator() -> IndexingIterator<[Element]> { elements.makeIterator() }

  func withContiguousStorageIfAvailable<Result>(
    _ body: (UnsafeBufferPointer<Element>) throws -> Result
  ) rethrows -> Result? {
    isContiguous ? try unsafe elements.withUnsafeBufferPointer(body) : nil
  }
}

/// How a collection misstates its count.
private struct Lie: Codable, CustomStringConvertible {
  let actual: Int
  let isContiguous: Bool

  static let all = [0, 2, 4, 300].flatMap { actual in
    [true, false].map { Lie(actual: actual, isContiguous: $0) }
  }

  func collection<Element>(of element: Element) -> Miscounted<Element> {
    Miscounted(
      elements: Array(repeating: element, count: actual), isContiguous: isContiguous)
  }

  var description: String { "\(actual) elements, \(isContiguous ? "in one piece" : "one by one")" }
}

@Suite struct MiscountTests {
  private func expect(
    _ result: ExitTest.Result?, _ lie: Lie, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let message = result?.message ?? ""
    let tooMany = "a collection has more elements than its count says, which is 3"
    let wrong = "a collection has \(lie.actual) elements, and its count says 3"
    #expect(
      message.contains(lie.actual > 3 && !lie.isContiguous ? tooMany : wrong),
      sourceLocation: sourceLocation)
  }

  @Test("allocating bytes from a collection that misstates its count stops", arguments: Lie.all)
  fileprivate func bytes(lie: Lie) async {
    let allocated = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [lie] in
      try HeapCheck.heap().withMutator { _ = $0.allocateBytes(lie.collection(of: 1 as UInt8)) }
    }
    expect(allocated, lie)
    let tried = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [lie] in
      try HeapCheck.heap().withMutator {
        _ = try $0.tryAllocateBytes(lie.collection(of: 1 as UInt8))
      }
    }
    expect(tried, lie)
  }

  @Test(
    "replacing elements by a collection that misstates its count stops", arguments: Lie.all)
  fileprivate func update(lie: Lie) async {
    let numbers = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [lie] in
      TestMemory.array(Array(repeating: 0, count: 3)).update(from: lie.collection(of: 1))
    }
    expect(numbers, lie)
    let references = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { [lie] in
      let box = TestMemory.object(Box(1))
      let array = TestMemory.array(Array(repeating: box as HeapRef<Box>?, count: 9))
      array.update(from: lie.collection(of: box as HeapRef<Box>?), at: 2)
    }
    expect(references, lie)
  }

  @Test("elements behind the promised ones are not written, even when there is room for them")
  func behind() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      struct Spy: Collection {
        let array: HeapArray<Int>
        var startIndex: Int { 0 }
        var endIndex: Int { 5 }
        var count: Int { 2 }
        func index(after index: Int) -> Int { index + 1 }
        subscript(index: Int) -> Int {
          // Asked for the fourth element: the third one must not have been stored.
          if index == 3 { fatalError("the array is \(Array(array))") }
          return index + 1
        }
      }
      let array = TestMemory.array([0, 0, 0, 0, 0])
      array.update(from: Spy(array: array))
    }
    #expect(result?.message.contains("more elements than its count says, which is 2") == true)
  }
}
