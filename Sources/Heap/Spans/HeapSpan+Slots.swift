// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A span's slots and their bits.
//
// Slots are told by index, and what is kept of them by granule: a bit stands for 16 bytes of
// address (SlotBits). Whatever goes through a span goes by words of bits.
//
// A run is a stretch of free slots, as long as can be. `nextRun` finds the next run at or after
// `freeIndex`, by counting the trailing zeros of words. The owner of the span zeroes and
// colours the slots, and only then `take` moves `freeIndex` to the end of the run. From that
// moment every slot of the run counts as allocated. Another thread may have a stale word on its
// stack that points there: it finds zeroes (`isAllocated`). A run that is not used up is handed
// back by moving `freeIndex` to its first unused slot.
//
// Sweeping makes the marks the new `allocated` bits, and then sets `freeIndex` to 0. The marks stay: a minor cycle goes on from there. A full cycle clears them
// first (`PageHeap.clearMarks`).
//
// In checked mode slots are taken one by one (`freeSlot`), and a sweep may hold slots that it frees
// out of use: a stale reference to such a slot finds no object there, and no other one either. A
// held slot is one that is not allocated and whose `held` bit is set. In other modes nobody writes
// the `held` bits, nor reads them.
//
// Invariant   the slots in `freeIndex ..< slotCount` with a clear `allocated` bit are free,
//             and zero unless the span is noscan or `needsZero`.
//             bits are set at the starts of slots only.
// Owner       the span's owner calls everything here except `isMarked`, `isAllocated` and
//             `slot(holding:)`, which anybody may call.
// Ordering    See Note [Publishing a run] in Documentation/MemoryOrdering.md.

internal import CHeapShims
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
}

extension HeapSpan {
  // MARK: - Bitmaps

  @usableFromInline package typealias Words = UnsafeMutablePointer<Atomic<UInt>>

  @inlinable @inline(__always) func words(_ address: UInt) -> Words {
    // SAFETY: inside the arena's tables: a span of a small class lies in one arena, and of the
    // bits of a large one the first word alone is used.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// gcmarkBits. Ordering: See Note [Mark bits].
  @inlinable @inline(__always) package var marks: Words { unsafe words(record.pointee.markBits) }

  /// allocBits. Owner: written by the sweeper, which owns the span.
  @inlinable @inline(__always) package var allocated: Words {
    unsafe words(
      record.pointee.markBits &+ (ArenaTables.Layout.allocated - ArenaTables.Layout.marks))
  }

  /// Which slots are held out of use. Owner: the span's owner, in checked mode only.
  @inlinable @inline(__always) package var held: Words {
    unsafe words(record.pointee.markBits &+ (ArenaTables.Layout.held - ArenaTables.Layout.marks))
  }

  /// Words that have bits of the span, in each of the bitmaps.
  @inlinable @inline(__always) package var wordCount: Int {
    isLarge ? 1 : pageCount &* ArenaTables.Layout.wordsPerPage
  }

  @inlinable package func isMarked(_ slot: Int) -> Bool {
    let (word, mask) = bit(ofSlot: slot)
    return unsafe marks[word].load(ordering: .relaxed) & mask != 0
  }

  // MARK: - Addresses

  @inlinable @inline(__always) package func address(ofSlot slot: Int) -> UInt {
    base &+ UInt(bitPattern: slot) &* slotSize
  }

  /// The slot that holds `address`, or nil when that lies behind the last slot.
  /// - Precondition: `address` is in one of the span's pages.
  @inlinable @inline(__always) package func slot(holding address: UInt) -> Int? {
    if isLarge { return 0 }
    let slot = slot(dividing: address &- base)
    return slot < slotCount ? slot : nil
  }

  /// Whether a slot has been handed out, as far as a thread can tell that does not own the span.
  @inlinable @inline(__always) package func isAllocated(_ slot: Int) -> Bool {
    // Acquiring: pairs with the stores of `take` and `sweep`.
    if slot < Int(unsafe record.pointee.freeIndex.load(ordering: .acquiring)) { return true }
    let (word, mask) = bit(ofSlot: slot)
    // Acquiring: pairs with `takeSlot`.
    return unsafe allocated[word].load(ordering: .acquiring) & mask != 0
  }

  // MARK: - Runs

  /// The next stretch of free slots, or nil when there is none left. Not taken yet.
  ///
  /// - Parameter limit: slots at the most (stress takes them one at a time).
  /// - Precondition: the caller owns the span.
  @inlinable @inline(__always)
  package func nextRun(atMost limit: Int = .max) -> SlotRange? {
    let (count, bits) = unsafe (slotCount, allocated)
    var slot = freeIndex
    // Most spans that are asked in vain are used up.
    guard allocatedCount < count, slot < count else { return nil }
    var (word, starts) = starts(from: slot)
    var used = unsafe bits[word].load(ordering: .relaxed)
    while starts & ~used == 0 {
      slot = firstSlot(behindWord: word, of: slot)
      guard slot < count else { return nil }
      (word, starts) = self.starts(from: slot)
      used = unsafe bits[word].load(ordering: .relaxed)
    }
    let place = (starts & ~used).trailingZeroBitCount
    let start = self.slot(ofGranule: word << 6 + place)
    guard start < count else { return nil }
    // Of what is allocated, the next one behind.
    used &= .max << UInt(place)
    if used == 0 { used = unsafe nextWord(behind: &word, of: bits) }
    var end = used == 0 ? count : self.slot(ofGranule: word << 6 + used.trailingZeroBitCount)
    if end - start > limit { end = start + limit }
    return SlotRange(start: start, end: end)
  }

  /// The next word that is not 0, or 0. `word` becomes its number.
  @inlinable @inline(__always)
  func nextWord(behind word: inout Int, of bits: Words) -> UInt {
    for next in stride(from: word + 1, to: wordCount, by: 1) {
      let used = unsafe bits[next].load(ordering: .relaxed)
      word = next
      if used != 0 { return used }
    }
    return 0
  }

  /// The first free slot among those from `slot` on whose bits are in the same word, if there is one.
  @inlinable @inline(__always)
  package func freeSlotNearby(from slot: Int) -> Int? {
    guard slot < slotCount else { return nil }
    let (word, starts) = starts(from: slot)
    let free = unsafe starts & ~allocated[word].load(ordering: .relaxed)
    guard free != 0 else { return nil }
    let found = self.slot(ofGranule: word << 6 + free.trailingZeroBitCount)
    return found < slotCount ? found : nil
  }

  /// Takes what `nextRun` found: its slots are allocated from now on.
  @inlinable @inline(__always)
  package func take(_ run: SlotRange) {
    allocatedCount += run.count
    freeIndex = run.end
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
    let (count, allocated, held) = unsafe (slotCount, allocated, held)
    var slot = start
    while slot < count {
      let (word, starts) = starts(from: slot)
      let used =
        unsafe allocated[word].load(ordering: .relaxed) | held[word].load(ordering: .relaxed)
      let free = starts & ~used
      if free != 0 {
        slot = self.slot(ofGranule: word << 6 + free.trailingZeroBitCount)
        return slot < count ? slot : nil
      }
      slot = firstSlot(behindWord: word, of: slot)
    }
    return nil
  }

  /// Takes what `freeSlot` found.
  package func takeSlot(_ slot: SlotRange) {
    allocatedCount += 1
    // Releasing: whoever finds the slot allocated finds zeroes in it. `freeIndex` stays where it
    // is, because the slots before this one may be free.
    let (word, mask) = bit(ofSlot: slot.start)
    unsafe allocated[word].bitwiseOr(mask, ordering: .releasing)
  }

  /// Gives the unused end of the current run back.
  /// - Precondition: the caller owns the span, and `unused` ends at `freeIndex`.
  package func giveBack(_ unused: SlotRange) {
    require(unused.end == freeIndex, "a run is handed back that is not the span's last")
    freeIndex = unused.start
    allocatedCount -= unused.count
  }

  // MARK: - Walking

  /// Calls `body` with the address of every slot that is allocated and not marked: of what the next
  /// sweep frees.
  ///
  /// - Precondition: the caller owns the span, nobody marks, and no slot of it is in a run.
  package func forEachDead(_ body: (_ address: UInt) -> Void) {
    forEachAllocated { word in
      unsafe ~marks[word].load(ordering: .relaxed)
    } body: {
      body($0)
    }
  }

  /// Calls `body` with the address of every slot that is allocated.
  ///
  /// - Precondition: the caller owns the span, and no slot of it is in a run.
  package func forEachAllocated(_ body: (_ address: UInt) -> Void) {
    forEachAllocated { _ in
      .max
    } body: {
      body($0)
    }
  }

  private func forEachAllocated(
    ofWord mask: (_ word: Int) -> UInt, body: (_ address: UInt) -> Void
  ) {
    forEachWord(of: SlotRange(start: 0, end: slotCount)) { word, slots in
      var found =
        unsafe allocated[word].load(ordering: .relaxed)
        | (slots & bits(below: freeIndex, inWord: word))
      found &= mask(word)
      while found != 0 {
        body(address(ofGranule: word << 6 + found.trailingZeroBitCount))
        found &= found - 1
      }
    }
  }

  // MARK: - Sweeping

  /// What a sweep found.
  package struct SweepResult: Sendable {
    package var live: Int
    package var freed: Int
  }

  /// Makes the marks the new `allocated` bits.
  ///
  /// - Parameter onDead: called for each word with bits of slots that die or are held; returns the
  ///   bits of those that are held from now on. Checked mode gives it, to fill dead slots with a
  ///   pattern; then each mark is checked, not only their number.
  /// - Precondition: the caller owns the span, nobody marks, and no slot of it is in a run.
  package func sweep(
    to generation: Generation, onDead: ((_ word: Int, _ dead: UInt, _ held: UInt) -> UInt)? = nil
  ) -> SweepResult {
    if let onDead { heldCount = findDead(onDead) }
    let live = copyMarks()
    let freed = allocatedCount - live
    if freed < 0 {
      brokenInvariant(
        "\(live) slots of \(name) are marked, but only \(allocatedCount) are allocated",
        isChecked: onDead != nil)
    }
    allocatedCount = live
    // After the bits: whoever sees 0 here shall see the new ones.
    freeIndex = 0
    if freed > 0 { needsZero = true }
    self.generation = generation
    unsafe record.pointee.isTouched = false
    return SweepResult(live: live, freed: freed)
  }

  /// Makes the `allocated` bits what the marks are. How many there are.
  private func copyMarks() -> Int {
    let (marks, allocated) = unsafe (marks, allocated)
    var live = 0
    if slotSize <= Self.wordSize {
      // Whole pages, and the bits of a page lie in one line.
      for page in 0..<pageCount {
        let first = page &* ArenaTables.Layout.wordsPerPage
        live &+= heap_count_bits_of_line(UInt(bitPattern: unsafe marks + first))
        for word in first..<first &+ ArenaTables.Layout.wordsPerPage {
          let marked = unsafe marks[word].load(ordering: .relaxed)
          unsafe allocated[word].store(marked, ordering: .relaxed)
        }
      }
    } else {
      // Slots start in few of the words.
      forEachWord(of: SlotRange(start: 0, end: slotCount)) { word, _ in
        let marked = unsafe marks[word].load(ordering: .relaxed)
        live &+= marked.nonzeroBitCount
        unsafe allocated[word].store(marked, ordering: .relaxed)
      }
    }
    return live
  }

  /// What checked mode does before a sweep: `onDead` learns of dead and held slots. How many slots
  /// are held from now on.
  private func findDead(_ onDead: (_ word: Int, _ dead: UInt, _ held: UInt) -> UInt) -> Int {
    var count = 0
    forEachWord(of: SlotRange(start: 0, end: slotCount)) { word, slots in
      let marked = unsafe marks[word].load(ordering: .relaxed)
      let was =
        unsafe allocated[word].load(ordering: .relaxed)
        | (slots & bits(below: freeIndex, inWord: word))
      if marked & ~was != 0 {
        let granule = word << 6 + (marked & ~was).trailingZeroBitCount
        brokenInvariant(
          "Slot \(slot(ofGranule: granule)) of \(name) is marked, but free", isChecked: true)
      }
      let (dead, old) = unsafe (was & ~marked, held[word].load(ordering: .relaxed))
      guard dead | old != 0 else { return }
      let hold = onDead(word, dead, old)
      unsafe held[word].store(hold, ordering: .relaxed)
      count += hold.nonzeroBitCount
    }
    return count
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
    checkBits(report)
    checkPages(report)
  }

  /// Reports bits that are set where no slot starts, and counts that are wrong.
  private func checkBits(_ report: (String) -> Void) {
    var starts = Array(repeating: 0 as UInt, count: wordCount)
    forEachWord(of: SlotRange(start: 0, end: slotCount)) { starts[$0] = $1 }
    var (allocatedSlots, heldSlots) = (0, 0)
    for (word, starts) in starts.enumerated() {
      let isHeld = unsafe held[word].load(ordering: .relaxed)
      let isAllocated =
        unsafe allocated[word].load(ordering: .relaxed)
        | (starts & bits(below: freeIndex, inWord: word))
      allocatedSlots += isAllocated.nonzeroBitCount
      heldSlots += isHeld.nonzeroBitCount
      if isHeld & isAllocated != 0 { report("\(name): a slot is allocated and held") }
      let stray =
        unsafe (marks[word].load(ordering: .relaxed) | isAllocated | isHeld) & ~starts
      if stray != 0 {
        report(
          "\(name): bit \(word << 6 + stray.trailingZeroBitCount) is set, where no slot starts")
      }
    }
    if allocatedSlots != allocatedCount {
      report("\(name): \(allocatedSlots) slots are allocated, the span counts \(allocatedCount)")
    }
    if heldSlots != heldCount {
      report("\(name): \(heldSlots) slots are held, the span counts \(heldCount)")
    }
  }

  private func checkPages(_ report: (String) -> Void) {
    if !isLarge && firstPage.arena != (firstPage + (pageCount - 1)).arena {
      report("\(name) crosses an arena's border")
    }
    for page in 0..<pageCount {
      let index = firstPage + page
      let tables = ArenaTables.of(index.address)
      let entry = unsafe PageEntry(
        bits: tables.entry(index.inArena).pointee.load(ordering: .relaxed))
      if entry != PageEntry(self) {
        report("\(name): the entry of page \(page) is of another span")
      }
      let kind = unsafe PageLayout(
        bits: tables.layout(index.inArena).pointee.load(ordering: .relaxed))
      if kind != PageLayout(layout, spanClass) {
        report("\(name): page \(page) has another layout")
      }
    }
  }
}
