// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A span's slots and their bits.
//
// A run is a stretch of free slots, as long as can be. `nextRun` finds the next run at or after
// `freeIndex`, by counting the trailing zeros of inverted words. The owner of the span zeroes and
// colours the slots, and only then `take` moves `freeIndex` to the end of the run. From that
// moment every slot of the run counts as allocated. Another thread may have a stale word on its
// stack that points there: it finds zeroes (`isAllocated`). A run that is not used up is handed
// back by moving `freeIndex` to its first unused slot.
//
// Sweeping makes the marks the new `allocated` bits, and the new `scanned` bits, and then sets
// `freeIndex` to 0. The marks stay: a minor cycle goes on from there. A full cycle clears them
// first (`clearMarks`).
//
// In checked mode slots are taken one by one (`freeSlot`), and a sweep may hold slots that it frees
// out of use: a stale reference to such a slot finds no object there, and no other one either. A
// held slot is one that is not allocated and whose `scanned` bit is set. It is never marked, so
// that bit has no other use.
//
// Invariant   the slots in `freeIndex ..< slotCount` with a clear `allocated` bit are free,
//             and zero unless the span is noscan or `needsZero`.
// Owner       the span's owner calls everything here except `isMarked`, `isAllocated` and
//             `slot(holding:)`, which anybody may call.
// Ordering    See Note [Publishing a run] in Documentation/MemoryOrdering.md.

public import Synchronization

/// A stretch of slots, by index.
@frozen @usableFromInline package struct SlotRange: Equatable, Sendable {
  @usableFromInline package var start: Int
  @usableFromInline package var end: Int

  @inlinable package init(start: Int, end: Int) {
    self.start = start
    self.end = end
  }

  @inlinable package var count: Int { end - start }

  /// Calls `body` with each word's number that the range has bits in, and those bits.
  @inlinable @inline(__always)
  package func forEachWord(_ body: (_ word: Int, _ mask: UInt) -> Void) {
    var index = start
    while index < end {
      let low = index & 63
      let high = min(64, low + end - index)
      let mask = (high == 64 ? UInt.max : (1 << UInt(high)) - 1) & (UInt.max << UInt(low))
      body(index >> 6, mask)
      index += high - low
    }
  }
}

extension HeapSpan {
  // MARK: - Bitmaps

  @usableFromInline package typealias Words = UnsafeMutablePointer<Atomic<UInt>>

  @inlinable @inline(__always) func words(_ address: UInt) -> Words {
    // SAFETY: inside the arena's tables; a span's bits fit into those of its first page.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// gcmarkBits. Ordering: See Note [Span queue].
  @inlinable @inline(__always) package var marks: Words { unsafe words(record.pointee.markBits) }

  /// Which slots have been scanned. Ordering: whoever sets a bit, scans the slot; the bit hands
  /// nothing else over.
  @inlinable @inline(__always) package var scanned: Words {
    unsafe words(
      record.pointee.markBits &+ (ArenaTables.Layout.scanned - ArenaTables.Layout.marks))
  }

  /// allocBits. Owner: written by the sweeper, which owns the span.
  @inlinable @inline(__always) package var allocated: Words {
    unsafe words(
      record.pointee.markBits &+ (ArenaTables.Layout.allocated - ArenaTables.Layout.marks))
  }

  @inlinable @inline(__always) package var wordCount: Int { (slotCount + 63) >> 6 }

  @inlinable @inline(__always) package static func bit(_ slot: Int) -> UInt { 1 << UInt(slot & 63) }

  @inlinable package func isMarked(_ slot: Int) -> Bool {
    unsafe marks[slot >> 6].load(ordering: .relaxed) & Self.bit(slot) != 0
  }

  // MARK: - Addresses

  @inlinable @inline(__always) package func address(ofSlot slot: Int) -> UInt {
    base &+ UInt(bitPattern: slot) &* slotSize
  }

  /// The slot that holds `address`, or nil when that lies behind the last slot.
  /// - Precondition: `address` is in one of the span's pages.
  @inlinable @inline(__always) package func slot(holding address: UInt) -> Int? {
    if isLarge { return 0 }
    let offset = address &- base
    let slot = Int(truncatingIfNeeded: (offset &* UInt(unsafe record.pointee.reciprocal)) >> 32)
    return slot < slotCount ? slot : nil
  }

  /// Whether a slot has been handed out, as far as a thread can tell that does not own the span.
  @inlinable @inline(__always) package func isAllocated(_ slot: Int) -> Bool {
    // Acquiring: pairs with the stores of `take` and `sweep`.
    if slot < Int(unsafe record.pointee.freeIndex.load(ordering: .acquiring)) { return true }
    // Acquiring: pairs with `takeSlot`.
    return unsafe allocated[slot >> 6].load(ordering: .acquiring) & Self.bit(slot) != 0
  }

  // MARK: - Runs

  /// The next stretch of free slots, or nil when there is none left. Not taken yet.
  ///
  /// - Parameter limit: slots at the most (stress takes them one at a time).
  /// - Precondition: the caller owns the span.
  package func nextRun(atMost limit: Int = .max) -> SlotRange? {
    let count = slotCount
    let bits = unsafe allocated
    guard let start = firstClear(from: freeIndex) else { return nil }
    // Find the next set one.
    var end = start
    while end < count {
      let used = unsafe bits[end >> 6].load(ordering: .relaxed) >> UInt(end & 63)
      if used != 0 {
        end += used.trailingZeroBitCount
        break
      }
      end = (end | 63) + 1
    }
    end = min(end, count)
    if end - start > limit { end = start + limit }
    return SlotRange(start: start, end: end)
  }

  /// Takes what `nextRun` found: its slots are allocated from now on.
  package func take(_ run: SlotRange) {
    allocatedCount += run.count
    freeIndex = run.end
  }

  /// The first slot at or behind `start` whose `allocated` bit is clear.
  private func firstClear(from start: Int) -> Int? {
    let (count, bits) = unsafe (slotCount, allocated)
    var slot = start
    while slot < count {
      let free = unsafe ~bits[slot >> 6].load(ordering: .relaxed) >> UInt(slot & 63)
      if free != 0 {
        slot += free.trailingZeroBitCount
        return slot < count ? slot : nil
      }
      slot = (slot | 63) + 1
    }
    return nil
  }

  // MARK: - Single slots

  /// The first free slot at or behind `place`, or else the first of all; nil when there is none.
  /// Not taken yet.
  ///
  /// For checked mode. A slot that was freed is then used again as late as possible, so that a
  /// stale reference to it finds no object there; one that is held is not used at all.
  ///
  /// - Precondition: the caller owns the span and takes slots of it one by one only.
  package func freeSlot(from place: Int) -> SlotRange? {
    guard usedCount < slotCount, let slot = firstFree(from: place) ?? firstFree(from: 0) else {
      return nil
    }
    return SlotRange(start: slot, end: slot + 1)
  }

  /// The first slot at or behind `start` that is neither allocated nor held.
  private func firstFree(from start: Int) -> Int? {
    let (count, allocated, scanned) = unsafe (slotCount, allocated, scanned)
    var slot = start
    while slot < count {
      let word = slot >> 6
      let used =
        unsafe allocated[word].load(ordering: .relaxed)
        | scanned[word].load(ordering: .relaxed)
      let free = ~used >> UInt(slot & 63)
      if free != 0 {
        slot += free.trailingZeroBitCount
        return slot < count ? slot : nil
      }
      slot = (slot | 63) + 1
    }
    return nil
  }

  /// Takes what `freeSlot` found.
  package func takeSlot(_ slot: SlotRange) {
    allocatedCount += 1
    // Releasing: whoever finds the slot allocated finds zeroes in it. `freeIndex` stays where it
    // is, because the slots before this one may be free.
    unsafe allocated[slot.start >> 6].bitwiseOr(Self.bit(slot.start), ordering: .releasing)
  }

  /// Gives the unused end of the current run back.
  /// - Precondition: the caller owns the span, and `unused` ends at `freeIndex`.
  package func giveBack(_ unused: SlotRange) {
    require(unused.end == freeIndex, "a run is handed back that is not the span's last")
    freeIndex = unused.start
    allocatedCount -= unused.count
  }

  // MARK: - Sweeping

  /// What a sweep found.
  package struct SweepResult: Sendable {
    package var live: Int
    package var freed: Int
  }

  /// Makes the marks the new `allocated` and `scanned` bits.
  ///
  /// - Parameter onDead: called for each word of slots that die or are held; returns those of them
  ///   that are held from now on. Checked mode gives it, to fill dead slots with a pattern; then
  ///   each mark is checked, not only their number.
  /// - Precondition: the caller owns the span, nobody marks, and no slot of it is in a run.
  package func sweep(
    to generation: Generation, onDead: ((_ word: Int, _ dead: UInt, _ held: UInt) -> UInt)? = nil
  ) -> SweepResult {
    let (marks, scanned, allocated) = unsafe (marks, scanned, allocated)
    let fresh = freeIndex
    var live = 0
    var heldSlots = 0
    for word in 0..<wordCount {
      let marked = unsafe marks[word].load(ordering: .relaxed)
      var hold: UInt = 0
      if let onDead {
        let below = min(max(fresh - word << 6, 0), 64)
        let was =
          unsafe allocated[word].load(ordering: .relaxed)
          | (below == 64 ? .max : (1 << UInt(below)) - 1)
        if marked & ~was != 0 {
          let slot = word << 6 + (marked & ~was).trailingZeroBitCount
          brokenInvariant("Slot \(slot) of \(name) is marked, but free", isChecked: true)
        }
        let (dead, held) = unsafe (was & ~marked, scanned[word].load(ordering: .relaxed) & ~was)
        if dead | held != 0 { hold = onDead(word, dead, held) }
        heldSlots += hold.nonzeroBitCount
      }
      live += marked.nonzeroBitCount
      unsafe allocated[word].store(marked, ordering: .relaxed)
      unsafe scanned[word].store(marked | hold, ordering: .relaxed)
    }
    let freed = allocatedCount - live
    if freed < 0 {
      brokenInvariant(
        "\(live) slots of \(name) are marked, but only \(allocatedCount) are allocated",
        isChecked: onDead != nil)
    }
    allocatedCount = live
    if onDead != nil { heldCount = heldSlots }
    // After the bits: whoever sees 0 here shall see the new ones.
    freeIndex = 0
    if freed > 0 { needsZero = true }
    unsafe record.pointee.scanCursor.store(0, ordering: .relaxed)
    self.generation = generation
    unsafe record.pointee.isTouched = false
    return SweepResult(live: live, freed: freed)
  }

  /// Makes every object white. What is held stays held.
  ///
  /// - Precondition: nobody marks, and nobody allocates black.
  package func clearMarks() {
    for word in 0..<wordCount {
      // Looked at first: the bits of large objects lie far apart, and memory that was never
      // written stays without backing.
      let marked = unsafe marks[word].load(ordering: .relaxed)
      guard marked != 0 else { continue }
      unsafe marks[word].store(0, ordering: .relaxed)
      _ = unsafe scanned[word].bitwiseAnd(~marked, ordering: .relaxed)
    }
    unsafe record.pointee.scanCursor.store(0, ordering: .relaxed)
  }

  // MARK: - Invariants

  /// What messages call the span.
  private var name: String {
    "the span at 0x\(String(base, radix: 16)) with slots of \(slotSize) bytes"
  }

  /// Reports what is wrong with the span's own state.
  package func checkInvariants(_ report: (String) -> Void) {
    guard isLive else { return report("\(name) is dead") }
    if freeIndex > slotCount { report("\(name): freeIndex \(freeIndex) of \(slotCount) slots") }
    var (count, held) = (0, 0)
    for slot in 0..<slotCount {
      if isAllocated(slot) {
        count += 1
      } else if unsafe scanned[slot >> 6].load(ordering: .relaxed) & Self.bit(slot) != 0 {
        held += 1
      }
    }
    if count != allocatedCount {
      report("\(name): \(count) slots are allocated, the span counts \(allocatedCount)")
    }
    if held != heldCount {
      report("\(name): \(held) slots are held, the span counts \(heldCount)")
    }
    for slot in slotCount..<(wordCount * 64) {
      let bit = Self.bit(slot)
      let stray =
        unsafe (marks[slot >> 6].load(ordering: .relaxed)
        | allocated[slot >> 6].load(ordering: .relaxed)) & bit
      if stray != 0 { report("\(name): bit \(slot) is set behind the last slot") }
    }
    for page in 0..<pageCount {
      let index = firstPage + page
      let entry = unsafe PageEntry(
        bits: ArenaTables.of(index.address).entry(index.inArena).pointee.load(ordering: .relaxed))
      if entry != PageEntry(span: self, spanClass: spanClass, pageInSpan: page) {
        report("\(name): the entry of page \(page) is of another span")
      }
    }
  }
}
