// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread's cache: the table of runs.
//
// The fast half looks in one place only, so the property that counts is where an entry lies
// after it has been looked for: at its home. The tests look there themselves.

import Heap
import TestSupport
import Testing

@Suite("Thread caches")
struct ThreadCacheTests {
  let fixture: SpanFixture
  let shelf: SpanShelf

  init() throws {
    fixture = try SpanFixture()
    shelf = try fixture.shelf(size: 64)
  }

  /// Looks a key up the slow way, and then as the fast half does: in the place of the first probe.
  private func expectFoundAtHome(_ key: UInt, in cache: borrowing ThreadCache) {
    let found = unsafe cache.find(key)?.pointee.key
    #expect(found == key)
    let home = ThreadCache.home(of: key, mask: cache.mask)
    let atHome = unsafe cache.entries[Int(home)].key
    #expect(atHome == key)
  }

  private func expectMissing(_ key: UInt, in cache: borrowing ThreadCache) {
    let found = unsafe cache.find(key)?.pointee.key
    #expect(found == nil)
  }

  private func problems(_ cache: borrowing ThreadCache) -> [String] {
    var found: [String] = []
    cache.checkInvariants { found.append($0) }
    return found
  }

  private func add(_ key: UInt, to cache: inout ThreadCache) {
    let entry = unsafe cache.add(key, shelf: shelf, slotSize: 64)
    #expect(unsafe entry.pointee.key == key)
  }

  @Test("an entry is one cache line")
  func size() {
    let stride = MemoryLayout<CacheEntry>.stride
    #expect(stride == 64)
    let cache = ThreadCache()
    let address = UInt(bitPattern: unsafe cache.entries)
    #expect(address % 64 == 0, "and lies on one line")
  }

  @Test("a key that was never added is not found, an added one is, with what it was given")
  func adding() {
    var cache = ThreadCache()
    expectMissing(0x1000, in: cache)
    let entry = unsafe cache.add(0x1000, shelf: shelf, slotSize: 4096)
    #expect(unsafe entry.pointee.slotSize == 4096)
    #expect(unsafe entry.pointee.shelf == shelf)
    #expect(unsafe entry.pointee.span == nil)
    #expect(unsafe entry.pointee.cursor >= entry.pointee.limit, "the fast half goes slow")
    let found = unsafe cache.find(0x1000)
    #expect(unsafe found == entry)
    expectMissing(0x2000, in: cache)
    #expect(cache.used == 1)
    #expect(problems(cache).isEmpty)
  }

  @Test("the table stays three quarters empty while it grows, and every key is still found")
  func growth() {
    var cache = ThreadCache()
    #expect(cache.mask == 63)
    for n in 1...16 { add(UInt(n) << 4, to: &cache) }
    #expect(cache.mask == 63)
    add(17 << 4, to: &cache)
    #expect(cache.mask == 255, "the 17th type makes it grow")
    for n in 18...1000 {
      add(UInt(n) << 4, to: &cache)
      #expect(cache.used * 4 <= Int(cache.mask) + 1)
    }
    #expect(cache.used == 1000)
    for n in 1...1000 { expectFoundAtHome(UInt(n) << 4, in: cache) }
    expectMissing(1001 << 4, in: cache)
    #expect(problems(cache).isEmpty)
  }

  @Test("of keys that collide, the one that was looked for last is at home")
  func collisions() {
    var cache = ThreadCache()
    // The same home, 5, and its neighbours' homes behind it.
    let keys = [5, 69, 133, 6, 7, 70].map { UInt($0) << 4 }
    for key in keys { add(key, to: &cache) }
    var random = RandomNumbers("collisions")
    for _ in 0..<2000 {
      let key = keys[Int.random(in: 0..<keys.count, using: &random)]
      expectFoundAtHome(key, in: cache)
      #expect(cache.used == keys.count)
    }
    // No swap has lost another key.
    for key in keys { expectFoundAtHome(key, in: cache) }
  }

  @Test("collisions at the end of the table wrap around to its beginning")
  func wrapping() {
    var cache = ThreadCache()
    let keys = (0..<5).map { UInt(63 + 64 * $0) << 4 }
    for key in keys { add(key, to: &cache) }
    for key in keys + keys.reversed() {
      expectFoundAtHome(key, in: cache)
    }
    expectMissing(UInt(63 + 64 * 5) << 4, in: cache)
  }

  @Test("a thousand keys that differ in any bit are kept apart, and each is found at home")
  func manyKeys() throws {
    var random = RandomNumbers("manyKeys")
    var cache = ThreadCache()
    var keys = Set<UInt>()
    while keys.count < 1000 {
      let key = UInt.random(in: 0x5555_0000_0000...0x5555_0010_0000, using: &random)
      // Keys that only the top bits or the lowest tell apart have one home.
      for other in [key, key ^ 1, key | 7 << 48] { keys.insert(other) }
    }
    for key in keys { add(key, to: &cache) }
    for key in keys.shuffled(using: &random) {
      expectFoundAtHome(key, in: cache)
    }
    #expect(cache.used == keys.count)
    #expect(problems(cache).isEmpty)
  }

  // MARK: - Runs

  private func addRun(
    _ key: UInt, _ count: Int, to cache: inout ThreadCache
  ) throws -> UnsafeMutablePointer<CacheEntry> {
    let span = try fixture.span(on: shelf)
    let run = try #require(span.takeRun(atMost: count))
    let entry = unsafe cache.add(key, shelf: shelf, slotSize: 64)
    unsafe entry.pointee.span = span
    unsafe entry.pointee.cursor = span.address(ofSlot: run.start)
    unsafe entry.pointee.runStart = span.address(ofSlot: run.start)
    unsafe entry.pointee.limit = span.address(ofSlot: run.end)
    return unsafe entry
  }

  @Test("the unused slots of a run are those from the cursor to the limit")
  func unusedSlots() throws {
    var cache = ThreadCache()
    let entry = unsafe try addRun(0x10, 10, to: &cache)
    #expect(unsafe entry.pointee.unusedSlots == SlotRange(start: 0, end: 10))
    unsafe entry.pointee.cursor += 3 * 64
    #expect(unsafe entry.pointee.unusedSlots == SlotRange(start: 3, end: 10))
    #expect(unsafe entry.pointee.usedCount == 3)
    unsafe entry.pointee.cursor = entry.pointee.limit
    #expect(unsafe entry.pointee.unusedSlots.count == 0)
    unsafe entry.pointee.span = nil
    #expect(unsafe entry.pointee.unusedSlots.count == 0)
  }

  @Test("a hidden table finds no key and keeps every run, until it is shown again")
  func hiding() throws {
    var cache = ThreadCache()
    for n in 1...30 { add(UInt(n) << 4, to: &cache) }
    let entry = unsafe try addRun(31 << 4, 10, to: &cache)
    let span = unsafe entry.pointee.span
    cache.hide()
    for n in 1...31 {
      expectMissing(UInt(n) << 4, in: cache)
      // What the fast half sees: no key's entry, and no run.
      let first = unsafe cache.entries[Int(ThreadCache.home(of: UInt(n) << 4, mask: cache.mask))]
      #expect(first.key == 0 && first.cursor >= first.limit)
    }
    var seen: [HeapSpan?] = []
    unsafe cache.forEachSpan { unsafe seen.append($0.pointee.span) }
    #expect(seen == [span], "the collector still finds the runs")
    #expect(problems(cache).isEmpty)
    cache.show()
    for n in 1...31 { expectFoundAtHome(UInt(n) << 4, in: cache) }
    #expect(cache.used == 31)
    #expect(problems(cache).isEmpty)
  }

  @Test("a table that was shrunk while hidden has no keys, and grows again")
  func shrinking() {
    var cache = ThreadCache()
    for n in 1...100 { add(UInt(n) << 4, to: &cache) }
    cache.hide()
    cache.shrink()
    #expect(cache.used == 0)
    expectMissing(5 << 4, in: cache)
    cache.show()
    expectMissing(5 << 4, in: cache)
    for n in 1...100 {
      add(UInt(n) << 4, to: &cache)
      #expect(cache.used * 4 <= Int(cache.mask) + 1)
    }
    for n in 1...100 { expectFoundAtHome(UInt(n) << 4, in: cache) }
    #expect(problems(cache).isEmpty)
  }

  @Test("every entry with a span is visited, whatever the table's size")
  func visiting() throws {
    var cache = ThreadCache()
    var spans = Set<HeapSpan>()
    for n in 1...40 {
      let key = UInt(n) << 4
      if n % 3 == 0 {
        let entry = unsafe try addRun(key, 1, to: &cache)
        if let span = unsafe entry.pointee.span { spans.insert(span) }
      } else {
        add(key, to: &cache)
      }
    }
    var seen = Set<HeapSpan>()
    unsafe cache.forEachSpan { entry in
      if let span = unsafe entry.pointee.span { seen.insert(span) }
    }
    #expect(seen == spans && spans.count == 13)
  }

  @Test("checkInvariants sees a run without a span, past its limit, off its span, or dirty")
  func invariants() throws {
    func broken(_ harm: (UnsafeMutablePointer<CacheEntry>) -> Void) throws -> [String] {
      var cache = ThreadCache()
      let entry = unsafe try addRun(0x10, 10, to: &cache)
      #expect(problems(cache).isEmpty)
      unsafe harm(entry)
      return problems(cache)
    }
    let noSpan = unsafe try broken { unsafe $0.pointee.span = nil }
    #expect(noSpan == ["an entry has a run and no span"])
    let past = unsafe try broken { unsafe $0.pointee.cursor = $0.pointee.limit + 64 }
    #expect(past.contains { $0.contains("past its limit") })
    let early = unsafe try broken { unsafe $0.pointee.limit -= 64 }
    #expect(early.contains { $0.contains("a run ends at slot 9") })
    let dirty = unsafe try broken { unsafe write(1, at: $0.pointee.limit - 8) }
    #expect(dirty.contains { $0.contains("not zero") })
    let other = try fixture.shelf(size: 64)
    let strange = unsafe try broken { unsafe $0.pointee.shelfAddress = other.address }
    #expect(strange.contains { $0.contains("another shelf") })
    let lost = unsafe try broken { unsafe $0.pointee.key = 0 }
    #expect(lost.contains { $0.contains("counts 1 entries") })
  }
}
