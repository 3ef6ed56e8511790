// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Grey objects: lines of addresses that are being fetched, stacks in two blocks, and the store that
// markers share. Addresses are only numbers here; nothing is read at them.

import Collector
import Heap
import TestSupport
import Testing

@Suite("Grey objects")
struct GreyStoreTests {
  let store = GreyStore()

  private func popAll(_ stack: inout GreyStack) -> [UInt] {
    var found: [UInt] = []
    while let object = stack.pop(store) { found.append(object) }
    return found
  }

  /// Everything that is in the store.
  private func takeAll() -> [UInt] {
    var stack = GreyStack()
    let found = popAll(&stack)
    stack.giveAll(to: store)
    return found
  }

  @Test("a line gives addresses out in the order in which they went in, sixteen later")
  func line() {
    var random = RandomNumbers("fetch lines")
    var line = FetchLine()
    var model: [UInt] = []
    for address in 1...5000 as ClosedRange<UInt> {
      if random.below(3) > 0 {
        let oldest = line.exchange(address)
        model.append(address)
        #expect(oldest == (model.count > 16 ? model.removeFirst() : 0))
      } else {
        let oldest = line.removeOldest()
        #expect(oldest == (model.isEmpty ? nil : model.removeFirst()))
      }
      let count = line.count
      #expect(count == model.count)
    }
  }

  @Test("a stack gives out the newest first, whatever its size")
  func stack() {
    var random = RandomNumbers("grey stacks")
    var stack = GreyStack()
    var model: [UInt] = []
    var next: UInt = 1
    // Long ways up and down, across several blocks.
    for _ in 0..<40 {
      for _ in 0..<random.below(3 * GreyBlock.capacity) {
        stack.push(next, store)
        model.append(next)
        next += 1
      }
      let (count, isEmpty) = (stack.count, stack.isEmpty)
      #expect(count <= model.count && isEmpty == (model.count == 0))
      for _ in 0..<random.below(3 * GreyBlock.capacity) {
        let object = stack.pop(store)
        #expect(object == model.popLast())
      }
    }
    #expect(popAll(&stack) == model.reversed())
    stack.giveAll(to: store)
    #expect(store.isEmpty)
  }

  @Test("around a block's end, a stack does not visit the store at every turn")
  func hysteresis() {
    var stack = GreyStack()
    for object in 1...UInt(2 * GreyBlock.capacity) { stack.push(object, store) }
    // One more makes the oldest block leave.
    stack.push(1, store)
    #expect(!store.isEmpty)
    guard let left = store.take() else { return }
    for _ in 0..<100 {
      let popped = [stack.pop(store), stack.pop(store)]
      #expect(!popped.contains(nil))
      stack.push(2, store)
      stack.push(3, store)
      #expect(store.isEmpty, "a block was put into the store")
    }
    store.put(left)
    _ = popAll(&stack)
    stack.giveAll(to: store)
  }

  @Test("a marker gives away a part of what it has, and keeps a part")
  func giving() {
    var stack = GreyStack()
    stack.push(1, store)
    stack.giveSome(to: store)
    #expect(store.isEmpty, "the only object was given away")
    for object in 2...9 as ClosedRange<UInt> { stack.push(object, store) }
    stack.giveSome(to: store)
    let kept = stack.count
    #expect(kept == 5)
    #expect(takeAll().sorted() == [1, 2, 3, 4])
    for object in 10...UInt(10 + GreyBlock.capacity) { stack.push(object, store) }
    stack.giveSome(to: store)
    let top = stack.count
    #expect(top > 0 && top < GreyBlock.capacity)
    #expect(takeAll().count == GreyBlock.capacity, "the full block below")
    stack.giveAll(to: store)
    #expect(takeAll().count == top)
  }

  @Test("memory for a million objects is given back, but for one slab, and used again")
  func trimming() {
    var stack = GreyStack()
    for object in 1...1_000_000 as ClosedRange<UInt> { stack.push(object, store) }
    let full = store.byteCount
    #expect(full >= 8_000_000 && full < 9_000_000)
    store.trim()
    #expect(store.byteCount == full, "blocks are in use")
    stack.giveAll(to: store)
    store.trim()
    #expect(store.byteCount == full, "grey objects wait")
    #expect(takeAll().count == 1_000_000)
    store.trim()
    let least = store.byteCount
    #expect(least > 0 && least < 1 << 20)
    for object in 1...1000 as ClosedRange<UInt> { stack.push(object, store) }
    #expect(popAll(&stack).count == 1000)
    stack.giveAll(to: store)
    #expect(store.byteCount == least)
  }

  @Test("objects that come one by one share blocks, and so do those of any number")
  func sharing() {
    var random = RandomNumbers("sharing blocks")
    for most in [1, 300, GreyBlock.capacity] {
      var count: UInt = 0
      while count < 50_000 {
        var stack = GreyStack()
        for _ in 0...random.below(most) {
          count += 1
          stack.push(count, store)
        }
        stack.giveAll(to: store)
      }
      // Full blocks hold 8 bytes for each object, half-full ones 16.
      let slab = 256 << 10
      #expect(store.byteCount <= 16 * Int(count) + 2 * slab, "up to \(most) at a time")
      #expect(takeAll().sorted() == Array(1...count))
      store.trim()
      #expect(store.byteCount == slab)
    }
  }

  @Test("of threads that put and take at once, none loses an object or gets one twice")
  func contention() {
    let found = HeapLock([UInt](), rank: .verifier)
    let each = 30_000
    onThreads(4) { number in
      var random = RandomNumbers(seed: UInt64(number))
      var stack = GreyStack()
      var mine: [UInt] = []
      for object in 1...each {
        stack.push(UInt(number * each + object), store)
        if random.below(3) == 0, let object = stack.pop(store) { mine.append(object) }
        switch random.below(1000) {
        case 0: stack.giveAll(to: store)
        case 1: stack.giveSome(to: store)
        case 2: store.trim()
        case 3:
          for _ in 0..<500 { if let object = stack.pop(store) { mine.append(object) } }
        default: break
        }
      }
      stack.giveAll(to: store)
      found.withLock { $0 += mine }
    }
    let all = found.withLock { $0 } + takeAll()
    #expect(all.count == 4 * each && Set(all) == Set(1...UInt(4 * each)))
    #expect(store.isEmpty)
  }
}
