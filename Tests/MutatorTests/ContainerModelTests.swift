// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Random programs on a list and a dictionary, beside the same programs on Swift's.
//
// The elements are objects that know what they are. Collections come at every so many allocations,
// minor and full ones, with small barrier buffers and checked stores. So a reference that is lost, or
// stored without its barrier, shows as an object that is not what it was; and whatever is kept alive
// for nothing shows at the end, in a heap that is not empty.
//
//     HEAP_TEST_OPERATIONS   operations, all threads together
//     HEAP_TEST_SEED         the seed

import Mutator
import TestSupport
import Testing

private struct Item: HeapObject {
  var id: Int
  var twin: HeapRef<Item>?
}

/// How the heap of a run collects.
private enum Mode: String, CaseIterable, CustomTestStringConvertible {
  case plain, minor, checked
  var testDescription: String { rawValue }

  func heap() throws -> ManagedHeap {
    try HeapCheck.heap {
      guard self != .plain else { return }
      $0.stress.collectEvery = self == .minor ? 60 : 150
      $0.stress.minorCycles = 3
      $0.stress.barrierBuffer = 4
      $0.checks = self == .checked ? .on : .off
    }
  }

  var operations: Int {
    TestEnvironment.number("HEAP_TEST_OPERATIONS") ?? (self == .plain ? 30_000 : 6000)
  }
}

@Suite struct ContainerModelTests {
  @Test("a list is as an array to which the same was done", arguments: Mode.allCases)
  fileprivate func list(mode: Mode) throws {
    let heap = try mode.heap()
    var numbers = RandomNumbers("a list in \(mode.rawValue) mode")
    heap.withMutator { mutator in
      let list = HeapList<HeapRef<Item>>(in: mutator)
      let pairs = HeapList<(Int32, HeapRef<Item>?)>(in: mutator)
      var model: [Int] = []
      var pairModel: [Int] = []
      var next = 0
      func item() -> HeapRef<Item> {
        next += 1
        return mutator.allocate(
          Item(id: next, twin: mutator.allocate(Item(id: -next, twin: nil))))
      }
      for operation in 0..<mode.operations {
        switch numbers.below(20) {
        case 0..<7:
          list.append(item(), in: mutator)
          model.append(next)
        case 7..<9:
          let index = numbers.below(model.count + 1)
          list.insert(item(), at: index, in: mutator)
          model.insert(next, at: index)
        case 9..<11 where !model.isEmpty:
          #expect(list.removeLast().id == model.removeLast())
        case 11..<13 where !model.isEmpty:
          let index = numbers.below(model.count)
          #expect(list.remove(at: index).id == model.remove(at: index))
        case 13..<15 where !model.isEmpty:
          let index = numbers.below(model.count)
          list[index] = item()
          model[index] = next
        case 15 where numbers.oneIn(20):
          let divisor = 2 + numbers.below(3)
          list.removeAll { $0.id % divisor == 0 }
          model.removeAll { $0 % divisor == 0 }
        case 16 where numbers.oneIn(50):
          let low = numbers.below(model.count + 1)
          let high = low + numbers.below(model.count - low + 1)
          list.removeSubrange(low..<high)
          model.removeSubrange(low..<high)
        case 17 where numbers.oneIn(100):
          list.removeAll()
          model.removeAll()
        case 18:
          let index = numbers.below(pairModel.count + 1)
          pairs.insert((Int32(operation), item()), at: index, in: mutator)
          pairModel.insert(next, at: index)
        case 19 where pairModel.count > 50:
          let index = numbers.below(pairModel.count)
          #expect(pairs.remove(at: index).1?.id == pairModel.remove(at: index))
        default: break
        }
        #expect(list.count == model.count)
        if operation % 500 == 0 || operation == mode.operations - 1 {
          #expect(list.map { $0.id } == model && list.map { $0.twin?.id } == model.map { -$0 })
          #expect(pairs.map { $0.1?.twin?.id } == pairModel.map { -$0 })
        }
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a dictionary is as Swift's to which the same was done", arguments: Mode.allCases)
  fileprivate func dictionary(mode: Mode) throws {
    let heap = try mode.heap()
    var numbers = RandomNumbers("a dictionary in \(mode.rawValue) mode")
    heap.withMutator { mutator in
      let dictionary = HeapDictionary<Int, HeapRef<Item>>(in: mutator)
      let texts = HeapDictionary<HeapString, HeapRef<Item>>(in: mutator)
      var model: [Int: Int] = [:]
      var order: [Int] = []
      var next = 0
      func item() -> HeapRef<Item> {
        next += 1
        return mutator.allocate(
          Item(id: next, twin: mutator.allocate(Item(id: -next, twin: nil))))
      }
      // As many different keys as make the dictionary grow and shrink.
      var range = 100
      for operation in 0..<mode.operations {
        if numbers.oneIn(1000) { range = 10 << numbers.below(8) }
        let key = numbers.below(range)
        switch numbers.below(20) {
        case 0..<8:
          let text = mutator.allocateString("key \(key)")
          let value = item()
          let old = dictionary.updateValue(value, forKey: key, in: mutator)
          #expect(texts.updateValue(value, forKey: text, in: mutator) == old)
          if model[key] == nil { order.append(key) }
          #expect(old?.id == model.updateValue(next, forKey: key))
        case 8..<14:
          let old = dictionary.removeValue(forKey: key)
          #expect(texts.removeValue(forKey: mutator.allocateString("key \(key)")) == old)
          #expect(old?.id == model.removeValue(forKey: key))
          if old != nil { order.removeAll { $0 == key } }
        case 14 where numbers.oneIn(30):
          let divisor = 2 + numbers.below(3)
          dictionary.removeAll { $0.key % divisor == 0 }
          texts.removeAll { Int("\($0.key)".dropFirst(4))! % divisor == 0 }
          for gone in model.keys where gone % divisor == 0 { model[gone] = nil }
          order.removeAll { $0 % divisor == 0 }
        case 15 where numbers.oneIn(200):
          dictionary.removeAll()
          texts.removeAll()
          model = [:]
          order = []
        case 16 where numbers.oneIn(50):
          dictionary.reserveCapacity(numbers.below(500), in: mutator)
        default:
          #expect(dictionary[key]?.id == model[key])
          #expect(texts["key \(key)"]?.id == model[key])
        }
        #expect(dictionary.count == model.count && texts.count == model.count)
        if operation % 500 == 0 || operation == mode.operations - 1 {
          #expect(dictionary.map(\.key) == order)
          #expect(texts.map { "\($0.key)" } == order.map { "key \($0)" })
          for (key, item) in dictionary {
            #expect(item.id == model[key] && item.twin?.id == -item.id)
          }
        }
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("large containers are moved and cleared while a collector marks them")
  func large() throws {
    let heap = try HeapCheck.pacedHeap { $0.stress.minorCycles = 2 }
    let (go, stop) = (Event(), Event())
    let collector = TestThread {
      go.wait()
      while !stop.hasHappened { heap.collect() }
    }
    heap.withMutator { mutator in
      let list = HeapList<HeapRef<Item>?>(in: mutator)
      let dictionary = HeapDictionary<Int, HeapRef<Item>>(in: mutator)
      let count = 60_000
      go.happen()
      for number in 0..<count {
        let item = mutator.allocate(Item(id: number, twin: nil))
        list.append(item, in: mutator)
        dictionary.updateValue(item, forKey: number, in: mutator)
      }
      for number in 0..<20 {
        list.insert(mutator.allocate(Item(id: -number, twin: nil)), at: 0, in: mutator)
        // Behind the new ones.
        #expect(list.remove(at: number + 1)?.id == number)
      }
      for number in stride(from: 0, to: count, by: 2) { dictionary.removeValue(forKey: number) }
      // Twice: with gaps, and without.
      dictionary.reserveCapacity(2 * count, in: mutator)
      dictionary.reserveCapacity(4 * count, in: mutator)
      #expect(list.count == count && dictionary.count == count / 2)
      for number in 20..<count { #expect(list[number]?.id == number) }
      for (number, item) in dictionary { #expect(item.id == number && number % 2 == 1) }
      list.removeAll()
      dictionary.removeAll()
    }
    stop.happen()
    collector.join()
    HeapCheck.expectEmpty(heap)
  }

  @Test("what a thread removes while a collector marks lives as long as the thread holds it")
  func removedWhileMarking() throws {
    // Checked: what is freed is overwritten.
    let heap = try HeapCheck.pacedHeap {
      $0.checks = .on
      $0.generations = .off
    }
    let stop = Event()
    let collector = TestThread {
      while !stop.hasHappened { heap.collect() }
    }
    heap.withMutator { mutator in
      let list = HeapList<HeapRef<Item>>(in: mutator)
      let pairs = HeapList<(Int, HeapRef<Item>)>(in: mutator)
      let dictionary = HeapDictionary<Int, HeapRef<Item>>(in: mutator)
      let count = 3000
      for round in 0..<8 {
        // Each has an item of its own: nothing else leads to it.
        for id in 0..<count {
          list.append(mutator.allocate(Item(id: id, twin: nil)), in: mutator)
          pairs.append((id, mutator.allocate(Item(id: id, twin: nil))), in: mutator)
          dictionary.updateValue(mutator.allocate(Item(id: id, twin: nil)), forKey: id, in: mutator)
        }
        var held = InlineArray<48, HeapRef<Item>?>(repeating: nil)
        for place in 0..<16 {
          held[3 * place] = list.removeLast()
          held[3 * place + 1] = pairs.remove(at: count / 2 - place).1
          held[3 * place + 2] = dictionary.removeValue(forKey: count - 1 - place)
          // On through the collection that is under way.
          for _ in 0..<(round * 300) { mutator.safepoint() }
        }
        let cycles = heap.statistics.cycleCount
        while heap.statistics.cycleCount < cycles + 2 { mutator.safepoint() }
        for place in 0..<16 {
          #expect(held[3 * place]?.id == count - 1 - place)
          #expect(held[3 * place + 1]?.id == count / 2 - place)
          #expect(held[3 * place + 2]?.id == count - 1 - place)
        }
        list.removeAll()
        pairs.removeAll()
        dictionary.removeAll()
      }
    }
    stop.happen()
    collector.join()
    HeapCheck.expectEmpty(heap)
  }

  @Test("threads that change one list at once damage nothing but its contents")
  func races() async {
    // The program is wrong: nobody knows what is in the list. The heap has to stay sound.
    await #expect(processExitsWith: .success) {
      guard !Sanitizer.isThread else { return }
      let heap = try ManagedHeap(HeapConfiguration())
      let root = heap.withMutator { mutator in
        HeapRoot(HeapList<HeapRef<Item>?>(in: mutator), in: mutator)
      }
      onThreads(4) { number in
        heap.withMutator { mutator in
          var numbers = RandomNumbers(seed: UInt64(number))
          let list = root.get(in: mutator)
          for _ in 0..<100_000 {
            switch numbers.below(8) {
            case 0: _ = list.popLast()
            // (removeAll, beside another change, stops the program with a message.)
            case 1 where numbers.oneIn(1000): for _ in 0..<5000 { _ = list.popLast() }
            case 2: list.reserveCapacity(list.count + 1, in: mutator)
            default: list.append(mutator.allocate(Item(id: 1, twin: nil)), in: mutator)
            }
          }
        }
      }
      #expect(HeapCheck.problems(of: heap).isEmpty)
      heap.withMutator { mutator in
        for item in root.get(in: mutator) { #expect(item == nil || item?.id == 1) }
      }
    }
  }
}
