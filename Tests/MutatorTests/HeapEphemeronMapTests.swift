// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Ephemeron maps: an entry lives while map and key do, whatever its value refers to.

import Collector
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

private struct Item: HeapObject {
  var next: HeapRef<Item>?
  var weak: WeakHeapRef<Item>?
  var key = 0
}

private typealias Map = HeapEphemeronMap<Item, HeapRef<Item>>

@Suite struct HeapEphemeronMapTests {
  @Test("keys are found by identity; values are replaced and removed")
  func basics() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let map = HeapEphemeronMap<Item, HeapString>(in: mutator)
      let (a, b) = (mutator.allocate(Item(key: 1)), mutator.allocate(Item(key: 1)))
      #expect(map[a] == nil && map.count == 0 && map.isEmpty)
      #expect(map.updateValue(mutator.allocateString("one"), forKey: a, in: mutator) == nil)
      #expect(map.updateValue(mutator.allocateString("two"), forKey: b, in: mutator) == nil)
      #expect(map.count == 2 && !map.isEmpty)
      mutator.collect()
      #expect(map[a].map { String($0) } == "one" && map[b].map { String($0) } == "two")
      let old = map.updateValue(mutator.allocateString("three"), forKey: a, in: mutator)
      #expect(old.map { String($0) } == "one" && map.count == 2)
      mutator.collect()
      #expect(map[a].map { String($0) } == "three")
      #expect(map.removeValue(forKey: a).map { String($0) } == "three")
      #expect(map.removeValue(forKey: a) == nil)
      #expect(map[a] == nil && map.count == 1)
      #expect(map[b].map { String($0) } == "two")
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a map is as a dictionary by identity, through growth, removals and collections")
  func randomly() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 64 << 10 }
    var random = RandomNumbers("HeapEphemeronMapTests.randomly")
    heap.withMutator { mutator in
      let map = HeapEphemeronMap<Item, Int>(in: mutator)
      let keys = mutator.allocateArray(of: HeapRef<Item>?.self, count: 300, repeating: nil)
      for index in keys.indices { keys[index] = mutator.allocate(Item(key: index)) }
      var model = [Int: Int]()
      for turn in 0..<6_000 {
        let index = random.below(300)
        let key = keys[index]!
        switch random.below(4) {
        case 0: #expect(map.removeValue(forKey: key) == model.removeValue(forKey: index))
        case 1: #expect(map[key] == model[index])
        default:
          let old = map.updateValue(turn, forKey: key, in: mutator)
          #expect(old == model.updateValue(turn, forKey: index))
        }
        #expect(map.count == model.count)
      }
      for index in keys.indices { #expect(map[keys[index]!] == model[index]) }
    }
    HeapCheck.expectEmpty(heap)
  }

  /// Entries whose keys nothing keeps, and whose values refer to the keys.
  @inline(never)
  private static func addDead(_ count: Int, to map: Map, in mutator: HeapMutator) {
    for index in 0..<count {
      let key = mutator.allocate(Item(key: index))
      map.updateValue(mutator.allocate(Item(next: key, key: index)), forKey: key, in: mutator)
    }
  }

  @Test("a value that refers to its own key does not keep it, and the entry goes")
  func ownKey() throws {
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let map = Map(in: mutator)
      Self.addDead(100, to: map, in: mutator)
      let key = mutator.allocate(Item(key: -1))
      map.updateValue(mutator.allocate(Item(next: key, key: -2)), forKey: key, in: mutator)
      #expect(map.count == 101)
      _ = clearStack()
      mutator.collect()
      #expect(map.count <= 3)
      #expect(map[key]?.key == -2 && map[key]?.next == key)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("values go with the map, though their keys live")
  func deadMap() throws {
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let key = mutator.allocate(Item())
      @inline(never) func fill() {
        for _ in 0..<100 {
          let map = Map(in: mutator)
          let value = mutator.allocate(Item(next: mutator.allocate(Item()), key: 1))
          map.updateValue(value, forKey: key, in: mutator)
        }
      }
      fill()
      _ = clearStack()
      mutator.collect()
      #expect(heap.statistics.ephemerons <= 2)
      #expect(heap.core.counters.liveObjects.load(ordering: .relaxed) < 40)
      #expect(key.key == 0)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a weak reference inside a value lives as the value does, and keeps nothing")
  func weakInside() throws {
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let map = Map(in: mutator)
      let (key, target) = (mutator.allocate(Item(key: 1)), mutator.allocate(Item(key: 2)))
      @inline(never) func fill() {
        map.updateValue(
          mutator.allocate(Item(weak: mutator.weak(to: target))), forKey: key, in: mutator)
        for index in 0..<50 {
          let other = mutator.allocate(Item(key: index))
          let weak = mutator.weak(to: mutator.allocate(Item(key: 3)))
          other.next = mutator.allocate(Item(weak: weak))
          map.updateValue(other.next!, forKey: other, in: mutator)
        }
      }
      fill()
      _ = clearStack()
      for _ in 0..<2 { mutator.collect() }
      #expect(map[key]?.weak?.get(in: mutator) == target)
      #expect(heap.statistics.weakReferences <= 3)
    }
    HeapCheck.expectEmpty(heap)
  }

  /// A chain: each value is the next key. Added last to first, and first to last, so that no order
  /// of the entries is a lucky one.
  @inline(never)
  private static func addChain(
    _ count: Int, isReversed: Bool, to map: Map, in mutator: HeapMutator
  ) -> HeapRef<Item> {
    let keys = mutator.allocateArray(of: HeapRef<Item>?.self, count: count, repeating: nil)
    for index in keys.indices { keys[index] = mutator.allocate(Item(key: index)) }
    for step in 0..<count - 1 {
      let index = isReversed ? count - 2 - step : step
      map.updateValue(keys[index + 1]!, forKey: keys[index]!, in: mutator)
    }
    return keys[0]!
  }

  @Test(
    "a chain of 10,000 ephemerons lives by its first key, and takes time in proportion to its length",
    arguments: [false, true])
  func chain(isReversed: Bool) throws {
    let heap = try HeapCheck.pacedHeap { $0.checks = .off }
    let count = 10_000
    heap.withMutator { mutator in
      let map = Map(in: mutator)
      let first = Self.addChain(count, isReversed: isReversed, to: map, in: mutator)
      _ = clearStack()
      mutator.collect()
      let before = heap.core.ephemerons.looks.load(ordering: .relaxed)
      mutator.collect()
      let looks = heap.core.ephemerons.looks.load(ordering: .relaxed) - before
      #expect(looks >= count - 1 && looks < 8 * count, "\(looks) looks, \(count - 1) entries")
      #expect(map.count == count - 1)
      var (key, length) = (first, 0)
      while let next = map[key] { (key, length) = (next, length + 1) }
      #expect(length == count - 1 && key.key == count - 1)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a chain whose first key is dead goes whole, in one collection")
  func deadChain() throws {
    let heap = try HeapCheck.pacedHeap { $0.checks = .off }
    heap.withMutator { mutator in
      let map = Map(in: mutator)
      @inline(never) func fill() {
        for reversed in [false, true] {
          _ = Self.addChain(5_000, isReversed: reversed, to: map, in: mutator).key
        }
      }
      fill()
      _ = clearStack()
      mutator.collect()
      // A stale word may keep some of one chain, from there to its end.
      #expect(map.count < 5_000)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a map that is only a value of another map's entry has entries of its own")
  func mapsInMaps() throws {
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let outer = HeapEphemeronMap<Item, Map>(in: mutator)
      let keys = mutator.allocateArray(of: HeapRef<Item>?.self, count: 200, repeating: nil)
      for index in keys.indices { keys[index] = mutator.allocate(Item(key: index)) }
      @inline(never) func fill() {
        for index in 0..<100 {
          let inner = Map(in: mutator)
          inner.updateValue(
            mutator.allocate(Item(key: 1000 + index)), forKey: keys[100 + index]!, in: mutator)
          outer.updateValue(inner, forKey: keys[index]!, in: mutator)
        }
      }
      fill()
      _ = clearStack()
      for _ in 0..<2 { mutator.collect() }
      for index in 0..<100 {
        #expect(outer[keys[index]!]?[keys[100 + index]!]?.key == 1000 + index)
      }
      for index in 0..<100 { keys[index] = nil }
      _ = clearStack()
      mutator.collect()
      #expect(outer.count <= 2)
      #expect(heap.statistics.ephemerons <= 4)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("entries live and die with minor collections as with full ones")
  func minorCollections() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.minimumHeap = 64 << 10
      $0.generations = .automatic
      $0.stress.minorCycles = 5
    }
    heap.withMutator { mutator in
      let map = Map(in: mutator)
      let kept = mutator.allocateArray(of: HeapRef<Item>?.self, count: 128, repeating: nil)
      for round in 0..<20_000 {
        let place = round % 128
        if let old = kept[place] {
          // Old keys, young values.
          guard map[old]?.key == old.key else { return #expect(map[old]?.key == old.key) }
          map.updateValue(
            mutator.allocate(Item(next: old, key: old.key)), forKey: old, in: mutator)
        }
        if round % 5 != 0 { continue }
        let key = mutator.allocate(Item(key: round))
        map.updateValue(mutator.allocate(Item(next: key, key: round)), forKey: key, in: mutator)
        kept[place] = round % 3 == 0 ? nil : key
      }
      #expect(heap.statistics.minorCycleCount > 0)
      _ = clearStack()
      mutator.collect()
      #expect(map.count <= 132)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("look-ups, updates and removals race with the end of marking")
  func racing() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.minimumHeap = 64 << 10
      $0.stress.handshakeDelay = 20
      $0.stress.barrierBuffer = 4
    }
    let isDone = Atomic<Bool>(false)
    let collecting = TestThread {
      while !isDone.load(ordering: .acquiring) { heap.collect() }
    }
    onThreads(3) { number in
      heap.withMutator { mutator in
        let map = Map(in: mutator)
        let keys = mutator.allocateArray(of: HeapRef<Item>?.self, count: 32, repeating: nil)
        for round in 0..<4_000 {
          let place = round % 32
          if let key = keys[place], let value = map[key] {
            // The value is on the stack only, then somewhere else.
            map.removeValue(forKey: key)
            mutator.safepoint()
            #expect(value.key == key.key && value.next?.key == key.key)
            if round % 3 == 0 { map.updateValue(value, forKey: key, in: mutator) }
          } else {
            let key = mutator.allocate(Item(key: round))
            let inner = mutator.allocate(Item(key: round))
            map.updateValue(
              mutator.allocate(Item(next: inner, key: round)), forKey: key, in: mutator)
            keys[place] = key
          }
          if round % 64 == number { keys[(round + 7) % 32] = nil }
        }
      }
    }
    isDone.store(true, ordering: .releasing)
    collecting.join()
    HeapCheck.expectEmpty(heap)
  }

  @Test("a map is kept by a root and in fields, and refuses keys of another heap")
  func places() async throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { mutator in
      let map = Map(in: mutator)
      let key = mutator.allocate(Item(key: 4))
      map.updateValue(key, forKey: key, in: mutator)
      return HeapRoot(map, in: mutator)
    }
    _ = clearStack()
    heap.collect()
    #expect(heap.withMutator { root.get(in: $0).count } == 0)
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
      a.withMutator { inA in
        let item = inA.allocate(Item())
        b.withMutator { inB in
          _ = HeapEphemeronMap<Item, Int>(in: inB).updateValue(1, forKey: item, in: inB)
        }
      }
    }
    #expect(result.said("stored into a HeapEphemeronMap"))
  }
}
