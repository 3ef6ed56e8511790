// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Dictionaries: what they hold after each operation, what they keep alive, what they refuse, and that
// no keys and no sequence of changes make them slow. Random programs beside Swift's dictionaries:
// ContainerModelTests.

import Heap
import Mutator
import TestSupport
import Testing

private struct Item: HeapObject {
  var key: Int
}

private struct Holder: HeapObject {
  var table: HeapDictionary<HeapString, HeapRef<Item>>
  var numbers: HeapDictionary<Int, Int>?
}

private enum Name: Hashable {
  case text(HeapString)
  case number(Int)
}

/// A key that counts how often it is compared, and whose hash the test chooses.
private struct Probe: Hashable {
  var hash: Int
  var id: Int

  static func == (a: Probe, b: Probe) -> Bool {
    unsafe comparisons += 1
    return a.id == b.id
  }

  func hash(into hasher: inout Hasher) { hasher.combine(hash) }

  // The hash as it is: neighbours stay neighbours.
  func _rawHashValue(seed: Int) -> Int { hash }

  nonisolated(unsafe) static var comparisons = 0
}

private func dictionary(_ keys: Range<Int>, _ mutator: HeapMutator) -> HeapDictionary<Int, Int> {
  let dictionary = HeapDictionary<Int, Int>(in: mutator)
  for key in keys { dictionary.updateValue(key * 10, forKey: key, in: mutator) }
  return dictionary
}

@Suite struct HeapDictionaryTests {
  @Test("each key has the value that it was given last")
  func update() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let dictionary = HeapDictionary<Int, Int>(in: mutator)
      #expect(dictionary.isEmpty && dictionary[1] == nil && dictionary.first == nil)
      for key in 0..<3000 {
        #expect(dictionary.updateValue(key, forKey: key * 7, in: mutator) == nil)
        #expect(dictionary.count == key + 1)
      }
      for key in 0..<3000 {
        #expect(dictionary[key * 7] == key && dictionary[key * 7 + 1] == nil)
        #expect(dictionary.updateValue(-key, forKey: key * 7, in: mutator) == key)
      }
      #expect(dictionary.count == 3000 && dictionary[7] == -1)
      #expect(dictionary[7, default: 4] == -1 && dictionary[8, default: 4] == 4)
    }
  }

  @Test("keys and values of every kind, also references")
  func kinds() throws {
    let heap = try HeapCheck.heap { $0.stress.collectEvery = 30 }
    heap.withMutator { mutator in
      let byItem = HeapDictionary<HeapRef<Item>, HeapString>(in: mutator)
      let byName = HeapDictionary<Name, (Int, HeapRef<Item>?)>(in: mutator)
      let small = HeapDictionary<UInt8, Bool>(in: mutator)
      let items = HeapList<HeapRef<Item>>(in: mutator)
      for number in 0..<200 {
        let item = mutator.allocate(Item(key: number))
        items.append(item, in: mutator)
        byItem.updateValue(mutator.allocateString("\(number)"), forKey: item, in: mutator)
        byName.updateValue((number, nil), forKey: .number(number), in: mutator)
        byName.updateValue(
          (-number, item), forKey: .text(mutator.allocateString("n\(number)")), in: mutator)
        small.updateValue(number % 2 == 0, forKey: UInt8(number), in: mutator)
      }
      #expect(byItem.count == 200 && byName.count == 400 && small.count == 200)
      for number in 0..<200 {
        #expect(byItem[items[number]]! == "\(number)")
        #expect(byName[.number(number)]!.0 == number && byName[.number(number)]!.1 == nil)
        let named = byName[.text(mutator.allocateString("n\(number)"))]
        #expect(named!.0 == -number && named!.1 == items[number])
        #expect(small[UInt8(number)] == (number % 2 == 0))
      }
    }
  }

  @Test("a reference of any type knows that it leads to a dictionary; values of any type are keys")
  func anyReference() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let table = HeapDictionary<HeapValue, HeapValue>(in: mutator)
      let any = AnyHeapRef(table)
      #expect(any.as(HeapDictionary<HeapValue, HeapValue>.self) == table)
      #expect(any.as(HeapDictionary<Int, HeapValue>.self) == nil)
      #expect(any.typeName == "HeapDictionary<HeapValue, HeapValue>")
      let keys = [HeapValue.nil, HeapValue(immediate: 1), HeapValue(immediate: -1), HeapValue(any)]
      for key in keys { table.updateValue(key, forKey: key, in: mutator) }
      for key in keys { #expect(table[key] == key) }
      #expect(table.count == 4 && table.removeValue(forKey: .nil) == .nil)
      #expect(table[.nil] == nil && table[HeapValue(table)] == HeapValue(any))
    }
  }

  @Test("strings are keys by their content, and are looked for with Swift strings")
  func strings() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let symbols = HeapDictionary<HeapString, Int>(in: mutator)
      let words = ["", "a", "lambda", "Grüße", String(repeating: "long ", count: 50)]
      for (number, word) in words.enumerated() {
        symbols.updateValue(number, forKey: mutator.allocateString(word), in: mutator)
      }
      for (number, word) in words.enumerated() {
        #expect(symbols[mutator.allocateString(word)] == number)
        #expect(symbols[word] == number && symbols[("<" + word).dropFirst()] == number)
        #expect(symbols[word + "x"] == nil)
      }
      #expect(symbols["lambda"] == 2)
    }
  }

  @Test("a value is made for a new key only, and its maker may use the dictionary")
  func orInsert() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let dictionary = HeapDictionary<Int, Int>(in: mutator)
      #expect(dictionary.value(forKey: 1, in: mutator) { 10 } == 10)
      #expect(dictionary.value(forKey: 1, in: mutator) { 11 } == 10)
      func fibonacci(_ number: Int) -> Int {
        dictionary.value(forKey: 100 + number, in: mutator) {
          number < 2 ? number : fibonacci(number - 1) + fibonacci(number - 2)
        }
      }
      #expect(fibonacci(80) == 23_416_728_348_467_685)
      let added = dictionary.value(forKey: 5, in: mutator) {
        dictionary.updateValue(50, forKey: 5, in: mutator)
        return 51
      }
      #expect(added == 50 && dictionary[5] == 50 && dictionary.count == 83)
    }
  }

  @Test("a removed key is gone, and the others stay")
  func removal() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let dictionary = dictionary(0..<1000, mutator)
      for key in stride(from: 0, to: 1000, by: 3) {
        #expect(dictionary.removeValue(forKey: key) == key * 10)
        #expect(dictionary.removeValue(forKey: key) == nil)
      }
      #expect(dictionary.count == 666)
      for key in 0..<1000 { #expect(dictionary[key] == (key % 3 == 0 ? nil : key * 10)) }
      dictionary.removeAll { $0.key % 3 == 1 }
      #expect(dictionary.count == 333)
      #expect(dictionary.keys.elementsEqual(stride(from: 2, to: 1000, by: 3)))
      dictionary.removeAll()
      #expect(dictionary.isEmpty && dictionary[2] == nil && Array(dictionary.keys) == [])
      dictionary.updateValue(1, forKey: 2, in: mutator)
      #expect(dictionary[2] == 1 && dictionary.count == 1)
    }
  }

  @Test("pairs come in the order in which their keys were added, whatever was removed")
  func order() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      var numbers = RandomNumbers(seed: 7)
      let dictionary = HeapDictionary<UInt64, Int>(in: mutator)
      var keys: [UInt64] = []
      for round in 0..<5000 {
        if round % 3 == 2 {
          let key = keys.remove(at: numbers.below(keys.count))
          dictionary.removeValue(forKey: key)
        } else {
          keys.append(numbers.next())
          dictionary.updateValue(round, forKey: keys.last!, in: mutator)
        }
        if round % 500 == 0 { #expect(dictionary.keys.elementsEqual(keys)) }
      }
      #expect(dictionary.map(\.key) == keys && dictionary.values.count == keys.count)
      #expect(dictionary.indices.map { dictionary[$0].key } == keys)
    }
  }

  @Test("a dictionary is a collection of pairs, keys and values")
  func collection() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let dictionary = dictionary(0..<10, mutator)
      for (key, value) in dictionary { #expect(value == key * 10) }
      #expect(dictionary.first! == (0, 0) && dictionary.keys.first == 0)
      #expect(dictionary.values.reduce(0, +) == 450 && dictionary.keys.contains(9))
      #expect(!dictionary.keys.contains(10) && dictionary.index(forKey: 10) == nil)
      #expect(dictionary[dictionary.index(forKey: 4)!] == (4, 40))
      let some = self.dictionary(1..<3, mutator)
      #expect(
        some.description == "[1: 10, 2: 20]"
          && HeapDictionary<Int, Int>(in: mutator).description == "[:]")
      #expect(some.debugDescription.hasPrefix("HeapDictionary<Int, Int>(2 keys, 0x"))
      let copy = some
      #expect(copy == some && some != dictionary && Set([some, copy, dictionary]).count == 2)
      #expect(MemoryLayout<HeapDictionary<Int, Int>?>.size == 8)
    }
  }

  private func dictionary(
    _ keys: Range<Int>, _ mutator: HeapMutator
  ) -> HeapDictionary<Int, Int> { MutatorTests.dictionary(keys, mutator) }

  @Test("a dictionary has the room that was asked for, and does not grow before it is used up")
  func capacity() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let dictionary = HeapDictionary<Int, Int>(capacity: 1000, in: mutator)
      let capacity = dictionary.capacity
      #expect(capacity >= 1000)
      for key in 0..<1000 { dictionary.updateValue(key, forKey: key, in: mutator) }
      #expect(dictionary.capacity == capacity)
      for key in 0..<500 { dictionary.removeValue(forKey: key) }
      // The gaps have to go first.
      dictionary.reserveCapacity(1000, in: mutator)
      let room = dictionary.capacity
      for key in 1000..<1500 { dictionary.updateValue(key, forKey: key, in: mutator) }
      #expect(dictionary.capacity == room && dictionary.count == 1000)
      #expect(dictionary.keys.elementsEqual(500..<1500))
    }
  }

  @Test("a dictionary is a field, an element, and in a root")
  func places() throws {
    let heap = try HeapCheck.heap { $0.stress.collectEvery = 20 }
    let root = heap.withMutator { mutator in
      let holder = mutator.allocate(Holder(table: HeapDictionary(in: mutator), numbers: nil))
      holder.numbers = HeapDictionary(in: mutator)
      for number in 0..<200 {
        holder.table.updateValue(
          mutator.allocate(Item(key: number)), forKey: mutator.allocateString("\(number)"),
          in: mutator)
        holder.numbers?.updateValue(number, forKey: number, in: mutator)
      }
      #expect(holder.numbers?.count == 200)
      let tables = HeapDictionary<Int, HeapDictionary<HeapString, HeapRef<Item>>?>(in: mutator)
      tables.updateValue(holder.table, forKey: 3, in: mutator)
      tables.updateValue(nil, forKey: 4, in: mutator)
      return HeapRoot(tables, in: mutator)
    }
    heap.collect()
    heap.withMutator { mutator in
      let tables = root.get(in: mutator)
      guard case .some(.some(let table)) = tables[3] else {
        Issue.record("lost")
        return
      }
      for number in 0..<200 { #expect(table["\(number)"]?.key == number) }
      #expect(tables[4] == .some(nil))
    }
  }

  // MARK: - What is kept alive

  @Test("what was removed or replaced is not kept alive, and what is there is")
  func reachability() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { mutator in
      HeapRoot(HeapDictionary<HeapArray<Int>, HeapArray<Int>>(in: mutator), in: mutator)
    }
    func live() -> Int {
      heap.collect()
      return heap.statistics.liveBytes >> 20
    }
    func block(_ mutator: HeapMutator) -> HeapArray<Int> {
      mutator.allocateArray(of: Int.self, count: 1 << 17, repeating: 1)
    }
    heap.withMutator { mutator in
      let dictionary = root.get(in: mutator)
      for _ in 0..<32 {
        dictionary.updateValue(block(mutator), forKey: block(mutator), in: mutator)
      }
    }
    #expect(live() == 64)
    heap.withMutator { mutator in
      let dictionary = root.get(in: mutator)
      for _ in 0..<8 { dictionary.removeValue(forKey: dictionary.keys.first!) }
    }
    #expect(live() == 48)
    heap.withMutator { mutator in
      let dictionary = root.get(in: mutator)
      let none = mutator.allocateArray(of: Int.self, count: 0, repeating: 0)
      for key in dictionary.keys { dictionary.updateValue(none, forKey: key, in: mutator) }
    }
    #expect(live() == 24)
    heap.withMutator { mutator in
      var number = 0
      root.get(in: mutator).removeAll { _ in
        number += 1
        return number % 3 == 0
      }
    }
    #expect(live() == 16)
    heap.withMutator { root.get(in: $0).removeAll() }
    #expect(live() == 0)
  }

  // MARK: - Time

  @Test("removing and adding again for ever neither grows the dictionary nor slows looking down")
  func churn() async {
    // A process of its own: the comparisons are counted in a variable.
    await #expect(processExitsWith: .success) {
      try ManagedHeap().withMutator { mutator in
        let dictionary = HeapDictionary<Probe, Int>(in: mutator)
        func probe(_ id: Int) -> Probe { Probe(hash: id &* 0x9E37_79B9, id: id) }
        for id in 0..<100 { dictionary.updateValue(id, forKey: probe(id), in: mutator) }
        for id in 100..<50_000 {
          #expect(dictionary.removeValue(forKey: probe(id - 100)) == id - 100)
          dictionary.updateValue(id, forKey: probe(id), in: mutator)
        }
        #expect(dictionary.count == 100 && dictionary.capacity <= 400)
        let before = unsafe Probe.comparisons
        for id in 0..<10_000 { #expect(dictionary[probe(id)] == nil) }
        // Hashes differ in 32 bits: no key is compared for nothing.
        #expect(unsafe Probe.comparisons == before)
        for id in 49_900..<50_000 { #expect(dictionary[probe(id)] == id) }
        #expect(unsafe Probe.comparisons == before + 100)
      }
    }
  }

  @Test("keys whose hashes are all the same are told apart")
  func collisions() async {
    await #expect(processExitsWith: .success) {
      try ManagedHeap().withMutator { mutator in
        let dictionary = HeapDictionary<Probe, Int>(in: mutator)
        for id in 0..<300 {
          dictionary.updateValue(id, forKey: Probe(hash: -1, id: id), in: mutator)
        }
        for id in stride(from: 0, to: 300, by: 2) {
          #expect(dictionary.removeValue(forKey: Probe(hash: -1, id: id)) == id)
        }
        for id in 0..<300 {
          #expect(dictionary[Probe(hash: -1, id: id)] == (id % 2 == 0 ? nil : id))
        }
        #expect(dictionary[Probe(hash: -2, id: 1)] == nil)
      }
    }
  }

  @Test("growing and removing hash no key again")
  func hashes() async {
    await #expect(processExitsWith: .success) {
      struct Key: Hashable {
        var id: Int
        nonisolated(unsafe) static var hashed = 0
        func hash(into hasher: inout Hasher) {
          unsafe Key.hashed += 1
          hasher.combine(id)
        }
      }
      try ManagedHeap().withMutator { mutator in
        let dictionary = HeapDictionary<Key, Int>(in: mutator)
        for id in 0..<5000 { dictionary.updateValue(id, forKey: Key(id: id), in: mutator) }
        #expect(unsafe Key.hashed == 5000)
        for id in 0..<5000 { dictionary.removeValue(forKey: Key(id: id)) }
        #expect(unsafe Key.hashed == 10_000)
      }
    }
  }

  // MARK: - Refusals

  @Test("a loop over a dictionary that gains or loses keys stops the program")
  func changedInLoop() async {
    for number in 0..<3 {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        [number = number as Int] in
        try ManagedHeap().withMutator { mutator in
          let dictionary = MutatorTests.dictionary(0..<5, mutator)
          for (key, _) in dictionary where key == 2 {
            switch number {
            case 0: dictionary.updateValue(1, forKey: 9, in: mutator)
            case 1: dictionary.removeValue(forKey: 0)
            default: dictionary.removeAll()
            }
          }
        }
      }
      #expect(result.said("a HeapDictionary was changed while a loop went over it"))
    }
  }

  @Test("a loop may give keys other values")
  func allowedInLoop() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let dictionary = dictionary(0..<50, mutator)
      for (key, value) in dictionary { dictionary.updateValue(-value, forKey: key, in: mutator) }
      #expect(dictionary.allSatisfy { $0.value == -10 * $0.key })
    }
  }

  @Test("a position of no pair traps")
  func positions() async {
    let end = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { mutator in
        let dictionary = MutatorTests.dictionary(0..<5, mutator)
        _ = dictionary[dictionary.endIndex]
      }
    }
    #expect(end.said("a position in a HeapDictionary"))
    let gone = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try ManagedHeap().withMutator { mutator in
        let dictionary = MutatorTests.dictionary(0..<5, mutator)
        let position = dictionary.index(forKey: 2)!
        dictionary.removeValue(forKey: 2)
        _ = dictionary[position]
      }
    }
    #expect(gone.said("a position in a HeapDictionary"))
  }

  @Test("keys and values that cannot be kept in the heap are refused by name")
  func unsupported() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      _ = #expect { try HeapDictionary<Int, String>.tryMake(in: mutator) } throws: {
        "\($0)".contains("use HeapString")
      }
    }
  }

  @Test("the tried forms throw when there is no memory, and the dictionary is as it was")
  func refused() throws {
    let heap = try HeapCheck.heap { $0.hardLimit = 16 << 20 }
    heap.withMutator { mutator in
      let dictionary = HeapDictionary<Int, Int>(in: mutator)
      #expect(throws: HeapError.self) {
        while true {
          _ = try dictionary.tryUpdateValue(1, forKey: dictionary.count, in: mutator)
        }
      }
      let count = dictionary.count
      #expect(count > 50_000 && dictionary.keys.elementsEqual(0..<count))
      #expect(throws: Never.self) { try dictionary.tryUpdateValue(2, forKey: 0, in: mutator) }
      #expect(throws: HeapError.self) { try dictionary.tryReserveCapacity(1 << 40, in: mutator) }
      #expect(dictionary[0] == 2 && dictionary[count - 1] == 1 && dictionary[count] == nil)
    }
  }
}
