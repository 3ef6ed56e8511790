// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Lists: what they hold after each operation, what they keep alive, what they refuse. Random programs
// beside Swift's arrays: ContainerModelTests.

import Heap
import Mutator
import TestSupport
import Testing

private struct Item: HeapObject {
  var key: Int
}

private struct Holder: HeapObject {
  var items: HeapList<HeapRef<Item>>
  var numbers: HeapList<Int>?
}

private enum Thing {
  case nothing
  case number(Int)
  case item(HeapRef<Item>)
}

/// A list with the numbers of a sequence.
private func list(_ numbers: some Sequence<Int>, _ mutator: HeapMutator) -> HeapList<Int> {
  let list = HeapList<Int>(in: mutator)
  for number in numbers { list.append(number, in: mutator) }
  return list
}

@Suite struct HeapListTests {
  @Test("what is appended is there, in order, however many there are")
  func append() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = HeapList<Int>(in: mutator)
      #expect(list.isEmpty && list.count == 0 && list.first == nil)
      for number in 0..<3000 {
        list.append(number, in: mutator)
        #expect(list.count == number + 1 && list[number] == number && list.capacity > number)
      }
      #expect(list.elementsEqual(0..<3000) && Array(list) == Array(0..<3000))
    }
  }

  @Test("elements of every kind are read and written by index")
  func kinds() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let bytes = HeapList<UInt8>(in: mutator)
      for byte in 0..<100 { bytes.append(UInt8(byte), in: mutator) }
      bytes[7] = 200
      #expect(bytes[7] == 200 && bytes[8] == 8)
      let items = HeapList<HeapRef<Item>?>(in: mutator)
      let things = HeapList<Thing>(in: mutator)
      let pairs = HeapList<(HeapRef<Item>, Int)>(in: mutator)
      let vectors = HeapList<SIMD4<Double>>(in: mutator)
      for number in 0..<100 {
        let item = mutator.allocate(Item(key: number))
        items.append(number % 3 == 0 ? nil : item, in: mutator)
        things.append(number % 2 == 0 ? .number(number) : .item(item), in: mutator)
        pairs.append((item, -number), in: mutator)
        vectors.append(SIMD4(repeating: Double(number)), in: mutator)
      }
      for number in 0..<100 {
        #expect(items[number]?.key == (number % 3 == 0 ? nil : number))
        switch things[number] {
        case .number(let found): #expect(found == number && number % 2 == 0)
        case .item(let item): #expect(item.key == number && number % 2 == 1)
        case .nothing: Issue.record("nothing was appended")
        }
        #expect(pairs[number].0.key == number && pairs[number].1 == -number)
        #expect(vectors[number] == SIMD4(repeating: Double(number)))
      }
      things[1] = .nothing
      pairs[0] = (pairs[1].0, 5)
      if case .nothing = things[1] {} else { Issue.record("a payload stayed") }
      #expect(pairs[0].0.key == 1 && pairs[0].1 == 5)
    }
  }

  @Test("a list has the room that was asked for, and does not grow before it is used up")
  func capacity() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = HeapList<Int>(capacity: 100, in: mutator)
      let capacity = list.capacity
      #expect(list.isEmpty && capacity >= 100)
      for number in 0..<100 { list.append(number, in: mutator) }
      #expect(list.capacity == capacity)
      list.reserveCapacity(5000, in: mutator)
      #expect(list.capacity >= 5000 && list.elementsEqual(0..<100))
      let large = list.capacity
      list.reserveCapacity(10, in: mutator)
      list.removeAll()
      #expect(list.capacity == large && list.isEmpty)
    }
  }

  @Test("copies of a list are the same list; a list is equal to itself alone")
  func identity() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let (a, b) = (list(0..<3, mutator), list(0..<3, mutator))
      let copy = a
      for number in 0..<100 { a.append(number, in: mutator) }
      #expect(copy.count == 103 && copy == a && a != b && copy.hashValue == a.hashValue)
      #expect(Set([a, b, copy]).count == 2)
      #expect(MemoryLayout<HeapList<Int>?>.size == 8)
      #expect(list([1, 2], mutator).description == "[1, 2]")
      #expect(b.debugDescription.hasPrefix("HeapList<Int>(3 elements, 0x"))
    }
  }

  @Test("a reference of any type knows that it leads to a list, and to which kind")
  func anyReference() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = list(0..<3, mutator)
      let (any, value) = (AnyHeapRef(list), HeapValue(list))
      #expect(any.as(HeapList<Int>.self) == list && value.as(HeapList<Int>.self) == list)
      #expect(any.as(HeapList<UInt>.self) == nil && !any.is(HeapArray<Int>.self))
      #expect(any.typeName == "HeapList<Int>")
      let values = HeapList<HeapValue>(in: mutator)
      values.append(value, in: mutator)
      values.append(HeapValue(immediate: 7), in: mutator)
      values.append(.nil, in: mutator)
      #expect(values.removeLast().isNil && values.removeLast().immediate == 7)
      #expect(values[0].as(HeapList<Int>.self)?.count == 3)
    }
  }

  @Test("removal returns what was removed and closes the gap")
  func removal() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = list(0..<8, mutator)
      #expect(list.removeLast() == 7 && list.popLast() == 6)
      #expect(list.remove(at: 0) == 0 && list.remove(at: 4) == 5 && list.remove(at: 1) == 2)
      #expect(list.elementsEqual([1, 3, 4]))
      list.removeSubrange(1...)
      #expect(list.elementsEqual([1]))
      list.removeSubrange(0..<0)
      #expect(list.removeLast() == 1 && list.popLast() == nil && list.isEmpty)
      for number in 0..<10 { list.append(number, in: mutator) }
      list.removeAll { $0 % 3 == 0 }
      #expect(list.elementsEqual([1, 2, 4, 5, 7, 8]))
      list.removeAll { _ in false }
      #expect(list.count == 6)
      list.removeAll { _ in true }
      #expect(list.isEmpty)
    }
  }

  @Test("a condition that throws has removed what it named so far")
  func throwingCondition() throws {
    struct Stop: Error {}
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = list(0..<10, mutator)
      #expect(throws: Stop.self) {
        try list.removeAll { number throws(Stop) in
          if number == 6 { throw Stop() }
          return number % 2 == 0
        }
      }
      #expect(list.elementsEqual([1, 3, 5, 6, 7, 8, 9]))
    }
  }

  @Test("insertion makes room at any place")
  func insertion() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = HeapList<Int>(in: mutator)
      for number in 0..<50 { list.insert(number, at: number / 2, in: mutator) }
      var expected: [Int] = []
      for number in 0..<50 { expected.insert(number, at: number / 2) }
      #expect(list.elementsEqual(expected))
      list.insert(-1, at: 0, in: mutator)
      list.insert(-2, at: list.count, in: mutator)
      #expect(list.first == -1 && list.last == -2 && list.count == 52)
      list.swapAt(0, 51)
      #expect(list.first == -2 && list.last == -1)
    }
  }

  @Test("other collections are appended, and the list to itself")
  func several() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let numbers = list(0..<3, mutator)
      numbers.append(contentsOf: numbers, in: mutator)
      numbers.append(contentsOf: [7, 8], in: mutator)
      numbers.append(
        contentsOf: mutator.allocateArray(of: Int.self, count: 2, repeating: 9), in: mutator)
      #expect(numbers.elementsEqual([0, 1, 2, 0, 1, 2, 7, 8, 9, 9]))
      let items = HeapList<HeapRef<Item>>(in: mutator)
      let item = mutator.allocate(Item(key: 1))
      items.append(
        contentsOf: mutator.allocateArray(of: HeapRef<Item>.self, count: 2, repeating: item),
        in: mutator)
      items.append(contentsOf: items, in: mutator)
      #expect(items.count == 4 && items.allSatisfy { $0 == item })
    }
  }

  @Test("a list is a random access collection")
  func collection() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = list(0..<100, mutator)
      #expect(list.reduce(0, +) == 4950 && list.last == 99 && list.firstIndex(of: 37) == 37)
      #expect(Array(list[10..<13]) == [10, 11, 12] && list.reversed().first == 99)
      #expect(list.indices == 0..<100 && list.dropFirst(98).count == 2)
      #expect(unsafe list.withContiguousStorageIfAvailable { $0.count } == 100)
      let words = HeapList<HeapString>(in: mutator)
      for word in ["a", "bc", ""] { words.append(mutator.allocateString(word), in: mutator) }
      #expect(words.joined(separator: "-", in: mutator) == "a-bc-")
    }
  }

  @Test("a list is a field, an element, and in a root")
  func places() throws {
    let heap = try HeapCheck.heap { $0.stress.collectEvery = 20 }
    let root = heap.withMutator { mutator in
      let items = HeapList<HeapRef<Item>>(in: mutator)
      let holder = mutator.allocate(Holder(items: items, numbers: nil))
      holder.numbers = HeapList(in: mutator)
      let lists = HeapList<HeapList<HeapRef<Item>>?>(in: mutator)
      lists.append(nil, in: mutator)
      lists.append(holder.items, in: mutator)
      for number in 0..<100 {
        holder.items.append(mutator.allocate(Item(key: number)), in: mutator)
        holder.numbers?.append(number, in: mutator)
      }
      #expect(holder.numbers!.elementsEqual(0..<100))
      return HeapRoot(lists, in: mutator)
    }
    heap.collect()
    heap.withMutator { mutator in
      let items = root.get(in: mutator)[1]!
      #expect(items.map { $0.key }.elementsEqual(0..<100))
    }
  }

  // MARK: - What is kept alive

  @Test("what was removed is not kept alive, and what is there is")
  func reachability() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { mutator in
      HeapRoot(HeapList<HeapArray<Int>>(in: mutator), in: mutator)
    }
    /// Mebibytes that live when nothing of a frame is left on the stack.
    func live() -> Int {
      heap.collect()
      return heap.statistics.liveBytes >> 20
    }
    heap.withMutator { mutator in
      let list = root.get(in: mutator)
      for _ in 0..<64 {
        list.append(mutator.allocateArray(of: Int.self, count: 1 << 17, repeating: 1), in: mutator)
      }
    }
    #expect(live() == 64)
    heap.withMutator { mutator in
      let list = root.get(in: mutator)
      for _ in 0..<16 { list.removeLast() }
    }
    #expect(live() == 48)
    heap.withMutator { mutator in
      let list = root.get(in: mutator)
      for _ in 0..<16 { list.remove(at: 3) }
    }
    #expect(live() == 32)
    heap.withMutator { mutator in
      var number = 0
      root.get(in: mutator).removeAll { _ in
        number += 1
        return number % 2 == 0
      }
    }
    #expect(live() == 16)
    heap.withMutator { root.get(in: $0).removeAll() }
    #expect(live() == 0)
    heap.withMutator { #expect(root.get(in: $0).isEmpty) }
  }

  @Test("removal records what it overwrites, also while a collection marks")
  func removalWhileMarking() throws {
    // With the flag up all the time: checked mode.
    let heap = try HeapCheck.heap {
      $0.checks = .on
      $0.stress.collectEvery = 7
    }
    heap.withMutator { mutator in
      let list = HeapList<(Int, HeapRef<Item>)>(in: mutator)
      for number in 0..<200 {
        list.append((number, mutator.allocate(Item(key: number))), in: mutator)
        if number % 5 == 4 {
          let (place, item) = list.remove(at: number / 10)
          #expect(mutator.allocate(item.pointee).key == place)
        }
      }
      list.removeAll { $0.0 % 2 == 0 }
      #expect(list.allSatisfy { $0.0 == $0.1.key && $0.0 % 2 == 1 })
    }
  }

  @Test("a checked heap looks into containers of enums, also before anything was put there")
  func emptyInCheckedMode() throws {
    enum Choice: Hashable {
      case number(Int)
      case item(HeapRef<Item>)
    }
    enum Other {
      case number(Int)
      case item(HeapRef<Item>)
    }
    let heap = try HeapCheck.pacedHeap { $0.checks = .on }
    heap.withMutator { mutator in
      let list = HeapList<Other>(capacity: 10, in: mutator)
      let dictionary = HeapDictionary<Choice, Other>(capacity: 10, in: mutator)
      mutator.collect()
      let item = mutator.allocate(Item(key: 5))
      list.append(.item(item), in: mutator)
      dictionary.updateValue(.item(item), forKey: .item(item), in: mutator)
      mutator.collect()
      if case .item(let found)? = dictionary[.item(item)] { #expect(found.key == 5) }
      #expect(list.count == 1 && dictionary.count == 1)
    }
  }

  // MARK: - Refusals

  @Test("an index that is none traps and is named, with the count")
  func bounds() async {
    let over = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { mutator in
        let list = list(0..<3, mutator)
        list.reserveCapacity(10, in: mutator)
        _ = list[3]
      }
    }
    #expect(over.said("index 3 in a list of 3 elements"))
    let under = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { mutator in list(0..<3, mutator)[-1] = 0 }
    }
    #expect(under.said("index -1 in a list"))
    let insert = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { list(0..<3, $0).insert(1, at: 4, in: $0) }
    }
    #expect(insert.said("index 4 in a list of 3 elements"))
    let remove = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { _ = list(0..<3, $0).remove(at: 3) }
    }
    #expect(remove.said("index 3 in a list of 3 elements"))
    let empty = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { _ = HeapList<Int>(in: $0).removeLast() }
    }
    #expect(empty.said("removed from an empty list"))
    let range = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { list(0..<3, $0).removeSubrange(2..<5) }
    }
    #expect(range.said("Range out of range"))
    let capacity = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { _ = HeapList<Int>(capacity: -2, in: $0) }
    }
    #expect(capacity.said("a capacity of -2"))
  }

  @Test("a loop over a list that gains, loses or moves elements stops the program")
  func changedInLoop() async {
    for number in 0..<5 {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        [number = number as Int] in
        try ManagedHeap().withMutator { mutator in
          let list = list(0..<5, mutator)
          for element in list where element == 2 {
            switch number {
            case 0: list.append(7, in: mutator)
            case 1: list.removeLast()
            case 2: list.insert(7, at: 0, in: mutator)
            case 3:  // As many as before.
              list.removeLast()
              list.append(7, in: mutator)
            default: list.removeAll()
            }
          }
        }
      }
      #expect(result.said("a HeapList was changed while a loop went over it"))
    }
  }

  @Test("a loop may set elements, and one over the indices may do anything")
  func allowedInLoop() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let list = list(0..<5, mutator)
      for element in list { list[element] = element * 2 }
      #expect(list.elementsEqual([0, 2, 4, 6, 8]))
      for index in list.indices.reversed() where index % 2 == 1 { list.remove(at: index) }
      #expect(list.elementsEqual([0, 4, 8]))
    }
  }

  @Test("references from a Swift collection are refused")
  func foreignReferences() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { mutator in
        let list = HeapList<HeapRef<Item>>(in: mutator)
        list.append(contentsOf: [mutator.allocate(Item(key: 1))], in: mutator)
      }
    }
    #expect(result.said("HeapRef<Item> can hold a reference"))
  }

  @Test("elements that cannot be kept in the heap are refused by name")
  func unsupported() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      _ = #expect { try HeapList<String>.tryMake(in: mutator) } throws: {
        "\($0)".contains("use HeapString")
      }
    }
  }

  @Test("the tried forms throw when there is no memory, and the list is as it was")
  func refused() throws {
    let heap = try HeapCheck.heap { $0.hardLimit = 16 << 20 }
    heap.withMutator { mutator in
      let list = HeapList<Int>(in: mutator)
      #expect(throws: HeapError.self) {
        while true { try list.tryAppend(list.count, in: mutator) }
      }
      let count = list.count
      #expect(count > 100_000 && list.elementsEqual(0..<count))
      #expect(throws: HeapError.self) { try list.tryReserveCapacity(1 << 40, in: mutator) }
      // If a stale word has kept the storage before last until now, there is room for once.
      if (try? list.tryInsert(1, at: 0, in: mutator)) != nil { list.remove(at: 0) }
      #expect(throws: HeapError.self) {
        try HeapList<Int>.tryMake(capacity: .max, in: mutator)
      }
      #expect(list.count == count && list.last == count - 1)
    }
  }
}
