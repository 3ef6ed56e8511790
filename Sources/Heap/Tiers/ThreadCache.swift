// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread's cache: for each kind of object that the thread allocates, the run of slots that
// it allocates from.
//
// The cache is a hash table. Its keys are words that mean nothing here: whoever allocates
// chooses them (Mutator/Threads/CacheKey.swift has the scheme). An entry is one cache line: the
// key, the cursor and the limit of the run, and what the slow half needs. The fast half of an
// allocation is inlined into the program (Mutator/Threads/HeapMutator.swift):
//
//     hash the key · compare it · compare cursor with limit · advance the cursor
//
// The slow half does everything else. It begins when the first probe finds another key, or when
// the run is used up.
//
// Probing is linear, and the fast half makes the first probe only. When the slow half finds the
// entry further on, it swaps the entry into the place of the first probe. So only two kinds
// that collide and alternate pay a slow call each time. At least three quarters of the table
// stay empty, which keeps such collisions rare.
//
// A thread that may not allocate (it is in a blocking region, or has left the heap) has its table
// hidden: the inlined half then finds no run, whatever the key, and the slow half can refuse.
//
// Owner       the thread that is attached, or the thread that acts on its behalf; no lock.
// Invariant   an entry with a span owns the span, and cursor ..< limit is the rest of its run:
//             free slots, zero unless noscan, all below the span's freeIndex.
// Slow path   Mutator/Threads/Allocation.swift finds the entry. When the run is used up,
//             Collector/Allocation/Allocator.swift finds the next one.

internal import CHeapShims

/// The run of one key. One cache line.
@frozen @usableFromInline package struct CacheEntry {
  /// What the run is for; 0: the entry is empty.
  @usableFromInline package var key: UInt
  /// The next free slot of the run, and the end of the run.
  @usableFromInline package var cursor: UInt
  @usableFromInline package var limit: UInt
  @usableFromInline package var slotSize: UInt
  /// The record of the span, or 0 when there is none.
  @usableFromInline package var spanAddress: UInt
  /// Where the spans come from and go to. An entry whose objects do not come from runs (large
  /// ones have spans of their own) has a shelf and never a span.
  @usableFromInline package var shelfAddress: UInt
  /// Slots of the span that its shelf counts as objects.
  @usableFromInline package var counted: Int32
  /// Bytes of the runs that the entry has had since the thread handed its spans back last; a number
  /// that is larger than any span stands for all larger ones.
  package var recentBytes: Int32
  /// Where the slots of the run begin that have not been counted yet.
  package var runStart: UInt

  package init() {
    (key, cursor, limit, slotSize, spanAddress, shelfAddress) = (0, 0, 0, 0, 0, 0)
    (counted, recentBytes, runStart) = (0, 0, 0)
  }

  /// Slots of the span that its shelf counts as objects.
  package var countBefore: Int {
    get { Int(counted) }
    set { counted = Int32(newValue) }
  }

  package var span: HeapSpan? {
    get { spanAddress == 0 ? nil : HeapSpan(address: spanAddress) }
    set { spanAddress = newValue?.address ?? 0 }
  }

  package var shelf: SpanShelf { SpanShelf(address: shelfAddress) }

  /// Slots of the run that have been handed out since they were counted last.
  package var usedCount: Int { slotSize == 0 ? 0 : Int((cursor - runStart) / slotSize) }

  /// The slots of the run that are still free.
  package var unusedSlots: SlotRange {
    guard let span, limit > cursor else { return SlotRange(start: 0, end: 0) }
    let start = Int((cursor - span.base) / slotSize)
    return SlotRange(start: start, end: start + Int((limit - cursor) / slotSize))
  }
}

/// The runs of a thread, by key.
@safe @frozen @usableFromInline package struct ThreadCache: ~Copyable {
  @usableFromInline package var entries: UnsafeMutablePointer<CacheEntry>
  /// The number of entries, a power of two, less one.
  @usableFromInline package var mask: UInt
  package private(set) var used: Int
  /// The table, while it is hidden.
  private var hidden: (entries: UnsafeMutablePointer<CacheEntry>, mask: UInt)?

  /// Entries of a new cache: 4 KiB, enough for 16 keys. More costs memory for each thread,
  /// less means growing sooner.
  private static var initialCount: Int { 64 }

  package init() {
    unsafe entries = Self.makeTable(Self.initialCount)
    mask = UInt(Self.initialCount - 1)
    used = 0
  }

  /// Frees the table. Its spans have been given back.
  deinit { unsafe table.entries.deallocate() }

  /// Forgets every key and keeps hardly any memory. All spans have been given back.
  /// - Precondition: the table is hidden.
  package mutating func shrink() {
    unsafe table.entries.deallocate()
    unsafe hidden = (Self.makeTable(1), 0)
    used = 0
  }

  // MARK: - Hiding

  /// What `entries` points to in every hidden cache of the process: one empty entry, at which every
  /// key's first probe ends. The table itself is out of reach of an inlined half that runs with a
  /// handle kept for too long, so it may be freed.
  private nonisolated(unsafe) static let noEntries = unsafe makeTable(1)

  /// The table, hidden or not.
  private var table: (entries: UnsafeMutablePointer<CacheEntry>, count: Int) {
    let (entries, mask) = unsafe hidden ?? (entries, mask)
    return unsafe (entries, Int(mask) + 1)
  }

  /// From now on no key is found.
  /// - Precondition: the table is not hidden.
  package mutating func hide() {
    unsafe hidden = (entries, mask)
    unsafe (entries, mask) = (Self.noEntries, 0)
  }

  /// Keys are found again.
  /// - Precondition: the table is hidden.
  package mutating func show() {
    guard let table = unsafe hidden else { return }
    unsafe (entries, mask) = table
    unsafe hidden = nil
  }

  private static func makeTable(_ count: Int) -> UnsafeMutablePointer<CacheEntry> {
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: count * MemoryLayout<CacheEntry>.stride, alignment: 64)
    let table = unsafe memory.bindMemory(to: CacheEntry.self, capacity: count)
    unsafe table.initialize(repeating: CacheEntry(), count: count)
    return unsafe table
  }

  // MARK: - Fast path

  /// The place of the first probe for a key.
  ///
  /// The four lowest bits of a key do not count: keys are addresses, mostly, of things that lie
  /// side by side. What is left of such addresses spreads well.
  @inlinable @inline(__always)
  package static func home(of key: UInt, mask: UInt) -> UInt { (key >> 4) & mask }

  // MARK: - Slow path

  /// The entry of a key, moved to its home; nil when the thread has not used the key before.
  package func find(_ key: UInt) -> UnsafeMutablePointer<CacheEntry>? {
    let home = Self.home(of: key, mask: mask)
    var place = home
    while true {
      let entry = unsafe entries + Int(place)
      if unsafe entry.pointee.key == key {
        guard place != home else { return unsafe entry }
        let first = unsafe entries + Int(home)
        let moved = unsafe entry.pointee
        unsafe entry.pointee = first.pointee
        unsafe first.pointee = moved
        return unsafe first
      }
      if unsafe entry.pointee.key == 0 { return nil }
      place = (place + 1) & mask
    }
  }

  /// Adds an entry without a run.
  ///
  /// - Precondition: `key` is not 0, and the cache does not have it yet.
  package mutating func add(
    _ key: UInt, shelf: SpanShelf, slotSize: Int
  ) -> UnsafeMutablePointer<CacheEntry> {
    if (used + 1) * 4 > Int(mask) + 1 { growTable() }
    var entry = CacheEntry()
    entry.key = key
    entry.slotSize = UInt(slotSize)
    entry.shelfAddress = shelf.address
    insert(entry)
    used += 1
    // Found: it has just been put in.
    return unsafe find(key).unsafelyUnwrapped
  }

  private func insert(_ entry: CacheEntry) {
    var place = Self.home(of: entry.key, mask: mask)
    while unsafe entries[Int(place)].key != 0 { place = (place + 1) & mask }
    unsafe entries[Int(place)] = entry
  }

  private mutating func growTable() {
    let (old, count) = unsafe table
    unsafe entries = Self.makeTable(count * 4)
    mask = UInt(count * 4 - 1)
    for i in 0..<count where unsafe old[i].key != 0 { unsafe insert(old[i]) }
    unsafe old.deallocate()
  }

  /// Calls `body` with every entry that has a span.
  package func forEachSpan(_ body: (UnsafeMutablePointer<CacheEntry>) -> Void) {
    let (entries, count) = unsafe table
    for i in 0..<count where unsafe entries[i].spanAddress != 0 { unsafe body(entries + i) }
  }

  /// Reports what is wrong with the entries and their spans.
  package func checkInvariants(_ report: (String) -> Void) {
    let (entries, size) = unsafe table
    var count = 0
    for i in 0..<size where unsafe entries[i].key != 0 {
      count += 1
      let entry = unsafe entries[i]
      guard let span = entry.span else {
        if entry.cursor != entry.limit { report("an entry has a run and no span") }
        continue
      }
      span.checkInvariants(report)
      let unused = entry.unusedSlots
      if entry.cursor > entry.limit { report("a cursor is past its limit") }
      if unused.count > 0 && unused.end != span.freeIndex {
        report("a run ends at slot \(unused.end), freeIndex is \(span.freeIndex)")
      }
      if span.shelf != entry.shelf { report("a cached span is of another shelf") }
      if !span.layout.isNoscan {
        for word in stride(from: entry.cursor, to: entry.limit, by: 8)
        where heap_load_word(word) != 0 {
          report("a free slot of a run is not zero")
          break
        }
      }
    }
    if count != used { report("the cache counts \(used) entries, has \(count)") }
  }
}
