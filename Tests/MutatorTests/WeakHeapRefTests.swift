// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Weak references: they keep nothing alive, become nil together, and stay nil.
//
// What is to die is made in functions of their own, which are not inlined: their frames are gone
// when the heap is collected, and `clearStack` overwrites what they have left.

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

/// Under 16 bytes, no references: shares a slot.
private struct Small: HeapObject {
  var number: Int32 = 0
}

@inline(never)
func clearStack(_ depth: Int = 40) -> Int {
  var words = InlineArray<32, Int>(repeating: depth)
  if depth > 0 { words[depth & 31] = clearStack(depth - 1) }
  return words[7] &+ words[31]
}

extension Bool {
  fileprivate mutating func becomesTrue() -> Bool {
    self = true
    return true
  }
}

@Suite struct WeakHeapRefTests {
  /// Weak references to so many objects, which nothing else keeps.
  @inline(never)
  private static func makeDead(
    _ count: Int, in mutator: HeapMutator
  ) -> HeapArray<WeakHeapRef<Item>?> {
    let weak = mutator.allocateArray(of: WeakHeapRef<Item>?.self, count: count, repeating: nil)
    for index in weak.indices {
      weak[index] = mutator.weak(to: mutator.allocate(Item(key: index)))
    }
    return weak
  }

  @inline(never)
  private static func living(
    _ weak: HeapArray<WeakHeapRef<Item>?>, in mutator: HeapMutator
  ) -> Int {
    weak.reduce(0) { $0 + ($1?.get(in: mutator) == nil ? 0 : 1) }
  }

  @Test("a weak reference leads to its object while that lives, and is nil when it is collected")
  func following() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { HeapRoot(Optional($0.allocate(Item(key: 7))), in: $0) }
    let weak = heap.withMutator { mutator in
      WeakHeapRoot(root.get(in: mutator)!, in: mutator)
    }
    for _ in 0..<3 { heap.collect() }
    heap.withMutator { mutator in
      #expect(weak.get(in: mutator)?.key == 7)
      #expect(weak.get(in: mutator) == root.get(in: mutator))
      root.set(nil, in: mutator)
    }
    _ = clearStack()
    heap.collect()
    #expect(heap.withMutator { weak.get(in: $0) == nil })
    HeapCheck.expectSound(heap)
  }

  @Test("weak references in fields, elements and locals keep nothing alive")
  func places() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let weak = Self.makeDead(100, in: mutator)
      let holder = mutator.allocate(Item())
      holder.weak = weak[50]
      let local = weak[51]
      _ = clearStack()
      mutator.collect()
      // A stale word may keep one or the other.
      #expect(Self.living(weak, in: mutator) <= 2)
      #expect((holder.weak?.get(in: mutator) == nil) == (weak[50]?.get(in: mutator) == nil))
      #expect((local?.get(in: mutator) == nil) == (weak[51]?.get(in: mutator) == nil))
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("what a weak reference returns keeps the object alive")
  func keeping() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let item = mutator.allocate(Item(key: 1))
      let weak = mutator.weak(to: item)
      let holder = mutator.allocate(Item())
      holder.next = weak.get(in: mutator)
      for _ in 0..<3 { mutator.collect() }
      #expect(weak.get(in: mutator)?.key == 1)
      #expect(weak.get(in: mutator) == holder.next)
    }
  }

  @Test("objects that refer to each other, and weakly to each other, die together")
  func cycles() throws {
    let heap = try HeapCheck.heap()
    @inline(never) func make(_ mutator: HeapMutator) -> HeapArray<WeakHeapRef<Item>?> {
      let weak = mutator.allocateArray(of: WeakHeapRef<Item>?.self, count: 200, repeating: nil)
      for index in stride(from: 0, to: 200, by: 2) {
        let (a, b) = (mutator.allocate(Item(key: index)), mutator.allocate(Item(key: index + 1)))
        (a.next, b.next) = (b, a)
        (a.weak, b.weak) = (mutator.weak(to: b), mutator.weak(to: a))
        (weak[index], weak[index + 1]) = (b.weak, a.weak)
      }
      return weak
    }
    heap.withMutator { mutator in
      let weak = make(mutator)
      _ = clearStack()
      mutator.collect()
      #expect(Self.living(weak, in: mutator) <= 4)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a weak reference in a dead object is forgotten with it, and memory does not pile up")
  func deadCells() throws {
    let heap = try HeapCheck.heap { $0.minimumHeap = 256 << 10 }
    let kept = heap.withMutator { HeapRoot($0.allocate(Item(key: 3)), in: $0) }
    heap.withMutator { mutator in
      for _ in 0..<20_000 { _ = mutator.weak(to: kept.get(in: mutator)) }
    }
    heap.collect()
    #expect(heap.statistics.weakReferences <= 2)
    HeapCheck.expectSound(heap)
    withExtendedLifetime(kept) {}
  }

  @Test("all weak references to one object become nil in the same collection, and stay nil")
  func together() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { HeapRoot(Optional($0.allocate(Item(key: 7))), in: $0) }
    let many = heap.withMutator { mutator in
      (0..<1000).map { _ in WeakHeapRoot(root.get(in: mutator)!, in: mutator) }
    }
    heap.withMutator { root.set(nil, in: $0) }
    _ = clearStack()
    heap.collect()
    for _ in 0..<3 {
      heap.withMutator { mutator in
        #expect(many.allSatisfy { $0.get(in: mutator) == nil })
        // The slot is used again, for an object of the same type.
        for key in 0..<1000 { _ = mutator.allocate(Item(key: key)) }
        #expect(many.allSatisfy { $0.get(in: mutator) == nil })
      }
      heap.collect()
    }
    #expect(heap.statistics.clearedWeakReferences == 1000)
  }

  @Test("a weak reference to a tiny value lives as long as the value's slot")
  func tiny() throws {
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { mutator in
      HeapRoot(Optional(mutator.allocate(Small(number: 5))), in: mutator)
    }
    let weak = heap.withMutator { WeakHeapRoot(root.get(in: $0)!, in: $0) }
    heap.collect()
    heap.withMutator { mutator in
      #expect(weak.get(in: mutator)?.number == 5)
      root.set(nil, in: mutator)
    }
    _ = clearStack()
    heap.collect()
    #expect(heap.withMutator { weak.get(in: $0) == nil })
  }

  @Test("a weak reference to a large object becomes nil, too")
  func large() throws {
    struct Large: HeapObject {
      var words = InlineArray<6000, Int>(repeating: 7)
    }
    let heap = try HeapCheck.heap()
    let root = heap.withMutator { HeapRoot(Optional($0.allocate(Large())), in: $0) }
    let weak = heap.withMutator { WeakHeapRoot(root.get(in: $0)!, in: $0) }
    heap.collect()
    heap.withMutator { mutator in
      #expect(weak.get(in: mutator) == root.get(in: mutator))
      root.set(nil, in: mutator)
    }
    _ = clearStack()
    heap.collect()
    #expect(heap.withMutator { weak.get(in: $0) == nil })
  }

  @Test("weak references live and die with minor collections as with full ones")
  func minorCollections() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.minimumHeap = 64 << 10
      $0.generations = .automatic
      $0.stress.minorCycles = 7
    }
    heap.withMutator { mutator in
      let weak = mutator.allocateArray(of: WeakHeapRef<Item>?.self, count: 512, repeating: nil)
      let strong = mutator.allocateArray(of: HeapRef<Item>?.self, count: 512, repeating: nil)
      for round in 0..<60_000 {
        let place = round % 512
        // Every other object is kept for a while, and made weak again when it is old.
        let item = mutator.allocate(Item(key: round))
        if let old = weak[place]?.get(in: mutator) {
          guard old.key % 512 == place else { return #expect(old.key % 512 == place) }
        } else if let kept = strong[place] {
          return #expect(kept.key == -1, "an object that is kept was lost for its weak reference")
        }
        weak[place] = mutator.weak(to: item)
        strong[place] = round % 3 == 0 ? item : nil
      }
    }
    let statistics = heap.statistics
    #expect(statistics.minorCycleCount > 0)
    #expect(statistics.clearedWeakReferences > 100)
    HeapCheck.expectEmpty(heap)
  }

  /// Millions in release, fewer in debug, where each takes many times as long.
  private static let many: Int = {
    var isDebug = false
    assert(isDebug.becomesTrue())
    return isDebug || Sanitizer.isThread || Sanitizer.isAddress ? 50_000 : 2_000_000
  }()

  @Test("millions of weak references: those to the living stay, the others become nil")
  func millions() throws {
    let heap = try HeapCheck.pacedHeap { $0.checks = .off }
    heap.withMutator { mutator in
      let count = Self.many
      let weak = mutator.allocateArray(of: WeakHeapRef<Item>?.self, count: count, repeating: nil)
      let strong = mutator.allocateArray(of: HeapRef<Item>?.self, count: count / 10, repeating: nil)
      for index in 0..<count {
        let item = mutator.allocate(Item(key: index))
        weak[index] = mutator.weak(to: item)
        if index % 10 == 0 { strong[index / 10] = item }
      }
      mutator.collect()
      var living = 0
      for index in 0..<count {
        guard let item = weak[index]?.get(in: mutator) else { continue }
        living += 1
        #expect(item.key == index && (index % 10 != 0 || item == strong[index / 10]))
      }
      #expect(living >= count / 10 && living < count / 10 + 10)
      #expect(heap.statistics.weakReferences >= living)
      #expect(strong.count == count / 10)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("look-ups race with the end of marking on several threads: nil is for ever, and for all")
  func racing() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.minimumHeap = 64 << 10
      $0.stress.handshakeDelay = 20
    }
    let slots = 64
    // What the threads look up; each round is a new set, and nobody keeps the objects but who has
    // got one.
    let weak = HeapLock<[WeakHeapRoot<Item>]>([], rank: .verifier)
    let isDone = Atomic<Bool>(false)
    let collecting = TestThread {
      while !isDone.load(ordering: .acquiring) { heap.collect() }
    }
    onThreads(3) { number in
      heap.withMutator { mutator in
        var seenNil = Array(repeating: false, count: slots)
        for round in 0..<300 {
          if number == 0 {
            let fresh = Self.freshRoots(slots, round, in: mutator)
            weak.withLock { $0 = fresh }
          }
          let roots = weak.withLock { $0 }
          for index in seenNil.indices { seenNil[index] = false }
          for _ in 0..<20 {
            for (index, root) in roots.enumerated() {
              // What is found is put into an object, and followed.
              let item = Self.find(root, in: mutator)
              if item == nil {
                seenNil[index] = true
              } else {
                #expect(!seenNil[index], "a weak reference was nil, and then it was not")
                let inner = item?.next
                #expect(inner == nil || inner?.key == item?.key)
              }
            }
            mutator.safepoint()
          }
        }
      }
    }
    isDone.store(true, ordering: .releasing)
    collecting.join()
    weak.withLock { $0 = [] }
    HeapCheck.expectEmpty(heap)
  }

  @inline(never)
  private static func freshRoots(
    _ count: Int, _ round: Int, in mutator: HeapMutator
  ) -> [WeakHeapRoot<Item>] {
    (0..<count).map { index in
      let key = round * count + index
      let inner = mutator.allocate(Item(key: key))
      return WeakHeapRoot(mutator.allocate(Item(next: inner, key: key)), in: mutator)
    }
  }

  @inline(never)
  private static func find(
    _ root: WeakHeapRoot<Item>, in mutator: HeapMutator
  ) -> HeapRef<Item>? {
    guard let item = root.get(in: mutator) else { return nil }
    // The only way to the inner object leads over the stack for a moment. Other threads do the same.
    let inner = item.next
    item.next = nil
    mutator.safepoint()
    item.next = inner?.key == item.key ? inner : mutator.allocate(Item(key: item.key))
    return item
  }

  @Test("tryWeak throws when there is no memory")
  func noMemory() throws {
    let heap = try HeapCheck.pacedHeap { $0.hardLimit = 8 << 20 }
    heap.withMutator { mutator in
      let item = mutator.allocate(Item())
      var last: HeapRef<Item>? = nil
      var refusal: HeapError?
      while refusal == nil {
        do throws(HeapError) {
          let weak = try mutator.tryWeak(to: item)
          last = try mutator.tryAllocate(Item(next: last, weak: weak))
        } catch {
          refusal = error
        }
      }
      guard case .outOfMemory? = refusal else { return #expect(refusal == nil) }
      #expect(last?.weak?.get(in: mutator) == item)
    }
  }

  // MARK: - Misuse

  @Test("a weak reference is made to an object of its own heap only")
  func anotherHeap() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let (a, b) = (try HeapCheck.heap(), try HeapCheck.heap())
      a.withMutator { inA in
        let item = inA.allocate(Item())
        b.withMutator { inB in _ = inB.weak(to: item) }
      }
    }
    #expect(result.said("a reference to an object of another heap (0x"))
    #expect(result.said("stored into a WeakHeapRef"))
  }

  @Test("checked mode finds a weak reference that was kept where the collector does not look")
  func lostCell() async {
    let result = await #expect(
      processExitsWith: .failure, observing: [\.standardErrorContent]
    ) {
      let heap = try HeapCheck.heap {
        $0.checks = .on
        $0.stress.collectEvery = 0
      }
      heap.withMutator { mutator in
        let item = mutator.allocate(Item())
        let kept = UnsafeMutablePointer<WeakHeapRef<Item>>.allocate(capacity: 1)
        @inline(never) func fill() { unsafe kept.initialize(to: mutator.weak(to: item)) }
        fill()
        _ = clearStack()
        mutator.collect()
        _ = unsafe kept.pointee.get(in: mutator)
        _ = item.key
      }
    }
    #expect(result.said("a reference to an object that has been collected"))
    #expect(result.said("was used: it was kept where the collector does not look"))
  }
}
