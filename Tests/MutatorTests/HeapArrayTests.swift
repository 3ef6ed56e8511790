// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Arrays without a heap: see TestMemory for why each test that stores has a
// process of its own.

import Mutator
import TestSupport
import Testing

/// Traps with a message.
private func message(_ result: ExitTest.Result?) -> String {
  result?.message ?? ""
}

@Suite struct HeapArrayTests {
  @Test("elements of every kind are read and written by index")
  func elements() async {
    await #expect(processExitsWith: .success) {
      let numbers = TestMemory.array([1, 2, 3])
      numbers[1] += 40
      #expect(Array(numbers) == [1, 42, 3] && numbers.count == 3)
      let bytes = TestMemory.array([1, 2, 3] as [UInt8])
      bytes[2] = 255
      #expect(bytes.elementsEqual([1, 2, 255]))
      let box = TestMemory.object(Box(1))
      let references = TestMemory.array([nil, box] as [HeapRef<Box>?])
      references[0] = box
      references[1] = nil
      references[0]?.key = 6
      #expect(references[0] == box && references[1] == nil && box.key == 6)
      let inners = TestMemory.array([Inner(), Inner()])
      inners[1].link = box
      inners[1].count = 3
      #expect(inners[0].link == nil && inners[1].link == box && inners[1].count == 3)
      let shapes = TestMemory.array([Shape.nothing, .number(3)])
      shapes[0] = .link(box)
      if case .link(let ref) = shapes[0] { #expect(ref == box) } else { Issue.record("lost") }
    }
  }

  @Test("strictly aligned elements start at their alignment")
  func alignment() {
    let second = SIMD8<Double>(repeating: 2)
    let vectors = TestMemory.array([SIMD8<Double>(repeating: 1), second])
    #expect(HeapArrayFormat.elementsOffset(alignment: 64) == 64)
    #expect(vectors[1] == second)
  }

  @Test("an array is a random access collection")
  func collection() {
    let array = TestMemory.array(Array(0..<100))
    #expect(array.reduce(0, +) == 4950)
    #expect(array.map { $0 * 2 }[99] == 198)
    #expect(Array(array[10..<13]) == [10, 11, 12])
    #expect(array.reversed().first == 99 && array.last == 99)
    #expect(array.firstIndex(of: 37) == 37)
    #expect(array.indices == 0..<100)
    #expect(unsafe array.withContiguousStorageIfAvailable { $0.count } == 100)
    #expect(TestMemory.array([Int]()).isEmpty)
    #expect(array.description.hasPrefix("[0, 1, 2"))
    #expect(array.debugDescription.hasPrefix("HeapArray<Int>(100 elements"))
  }

  @Test("arrays compare by identity")
  func identity() {
    let (a, b) = (TestMemory.array([1]), TestMemory.array([1]))
    #expect(a == a && a != b && a.elementsEqual(b))
    #expect(Set([a, b, a]).count == 2)
  }

  @Test("an index out of range traps and is named, with the count")
  func bounds() async {
    let over = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { _ = TestMemory.array([1, 2, 3])[3] }
    #expect(message(over).contains("Index out of range: index 3 in an array of 3 elements"))
    let under = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { TestMemory.array([1, 2, 3])[-1] = 0 }
    #expect(message(under).contains("Index out of range: index -1"))
  }

  @Test("many elements are replaced at once, from any collection")
  func update() async {
    await #expect(processExitsWith: .success) {
      let array = TestMemory.array(Array(repeating: 0, count: 6))
      array.update(from: [1, 2, 3])
      array.update(from: (7...9).lazy.map { $0 * 10 }, at: 3)
      #expect(Array(array) == [1, 2, 3, 70, 80, 90])
      array.update(from: EmptyCollection<Int>(), at: 6)
      array.copy(range: 0..<4, to: 1)
      #expect(Array(array) == [1, 1, 2, 3, 70, 90])
      array.copy(range: 2..<6, to: 0)
      #expect(Array(array) == [2, 3, 70, 90, 70, 90])
      let other = TestMemory.array([9, 9, 9])
      array.copy(range: 1..<3, to: other, at: 1)
      #expect(Array(other) == [9, 3, 70])
      array.update(repeating: 4)
      #expect(Array(array) == [4, 4, 4, 4, 4, 4])
      unsafe array.withUnsafeElements { unsafe $0[5] = 1 }
      #expect(array[5] == 1)
    }
  }

  @Test("references are copied in the right order when the ranges overlap")
  func copyReferences() async {
    await #expect(processExitsWith: .success) {
      let boxes = (0..<6).map { TestMemory.object(Box($0)) }
      let array = TestMemory.array(boxes.map(Optional.some))
      array.copy(range: 0..<5, to: 1)
      #expect(array.map { $0!.id } == [0, 0, 1, 2, 3, 4])
      array.copy(range: 2..<6, to: 0)
      #expect(array.map { $0!.id } == [1, 2, 3, 4, 3, 4])
      array.update(from: boxes.reversed().map(Optional.some))
      #expect(array.map { $0!.id } == [5, 4, 3, 2, 1, 0])
      array.update(repeating: nil)
      #expect(array.allSatisfy { $0 == nil })
    }
  }

  @Test("ranges that do not fit trap, and so does unsafe access to references")
  func misuse() async {
    let update = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { TestMemory.array([1, 2, 3]).update(from: [1, 2], at: 2) }
    #expect(message(update).contains("2 elements from index 2 in an array of 3 elements"))
    let copy = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) { TestMemory.array([1, 2, 3]).copy(range: 2..<4, to: 0) }
    #expect(message(copy).contains("Range out of range"))
    let elements = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let array = TestMemory.array([nil] as [HeapRef<Box>?])
      unsafe array.withUnsafeElements { _ in }
    }
    #expect(message(elements).contains("can hold a reference"))
  }
}
