// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread's cache: for each type that the thread allocates, the run it allocates from.
//
// A hash table keyed by the type: the address of its metatype, which the linker knows, so an
// allocation needs neither a token from the user nor a static per type. An entry is one cache
// line: key, cursor, limit, and what the slow half needs. Allocating is
//
//     hash the key · compare it · compare cursor with limit · advance the cursor
//
// and everything else is slow: the first probe missed, or the run is used up.
//
// Probing is linear, and the first probe is the only one in the fast half. When the slow half
// finds the entry further on, it swaps it into the place of the first probe: two types that
// collide and alternate pay a slow call each time, all others never again. The table is kept
// three quarters empty so that this stays rare.
//
//     key of an object type     the address of its metatype
//     key of an array           that of its element type, and size class + 1 in the top bits
//     tinyKey                   the 16-byte slots that tiny values share
//
// Owner       the one thread that is attached (or who acts on its behalf); no lock.
// Invariant   an entry with a span owns it, and cursor ..< limit is the rest of its run:
//             free slots, zero unless noscan, all below the span's freeIndex.
// Slow path   Collector/Allocation/Refill.swift

internal import CHeapShims

/// One type's run.
@usableFromInline package struct CacheEntry {
  /// 0: the entry is empty.
  @usableFromInline package var key: UInt
  /// The next free slot of the run, and the end of the run.
  @usableFromInline package var cursor: UInt
  @usableFromInline package var limit: UInt
  @usableFromInline package var slotSize: UInt
  /// The record of the span, or 0 when there is none.
  @usableFromInline package var spanAddress: UInt
  @usableFromInline package var shelfAddress: UInt
  /// How the slow half makes objects of the type.
  package var kind: Kind
  /// Slots of the span that were allocated when the cache took it.
  package var countBefore: Int

  /// Where objects of a type come from.
  package enum Kind: UInt, Sendable {
    /// Slots of spans.
    case small
    /// Shares of the open tiny slot; the entry never has a run.
    case tiny
    /// Spans of their own; the entry never has a run.
    case large
  }

  package init() {
    (key, cursor, limit, slotSize, spanAddress, shelfAddress) = (0, 0, 0, 0, 0, 0)
    kind = .small
    countBefore = 0
  }

  package var span: HeapSpan? {
    get { spanAddress == 0 ? nil : HeapSpan(address: spanAddress) }
    set { spanAddress = newValue?.address ?? 0 }
  }

  package var shelf: SpanShelf { SpanShelf(address: shelfAddress) }

  /// The slots of the run that are still free.
  package var unusedSlots: SlotRange {
    guard let span, limit > cursor else { return SlotRange(start: 0, end: 0) }
    let start = Int((cursor - span.base) / slotSize)
    return SlotRange(start: start, end: start + Int((limit - cursor) / slotSize))
  }
}

/// The table of a thread's runs.
@safe @frozen @usableFromInline package struct ThreadCache {
  @usableFromInline package var entries: UnsafeMutablePointer<CacheEntry>
  /// The number of entries, a power of two, less one.
  @usableFromInline package var mask: UInt
  package private(set) var used: Int

  /// Entries of a new cache: 4 KiB, good for 16 types. More costs memory for each thread,
  /// less means growing sooner.
  private static var initialCount: Int { 64 }

  package init() {
    unsafe entries = Self.makeTable(Self.initialCount)
    mask = UInt(Self.initialCount - 1)
    used = 0
  }

  /// Frees the table. Its spans have been given back.
  package func destroy() { unsafe entries.deallocate() }

  private static func makeTable(_ count: Int) -> UnsafeMutablePointer<CacheEntry> {
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: count * MemoryLayout<CacheEntry>.stride, alignment: 64)
    let table = unsafe memory.bindMemory(to: CacheEntry.self, capacity: count)
    unsafe table.initialize(repeating: CacheEntry(), count: count)
    return unsafe table
  }

  // MARK: - Fast path

  /// Where an object type's entry is if the first probe finds it.
  ///
  /// Metatypes lie side by side in the program's data, so their addresses without the low
  /// bits spread well.
  @inlinable @inline(__always)
  package static func home(ofType key: UInt, mask: UInt) -> UInt { (key >> 4) & mask }

  /// The key of the slots that tiny values share: no metatype has it.
  package static var tinyKey: UInt { 16 }

  /// The key of the arrays of an element type in a size class.
  @inlinable @inline(__always)
  package static func arrayKey(element: UInt, _ sizeClass: SizeClass) -> UInt {
    element | (UInt(sizeClass.number) &+ 1) << 48
  }

  // MARK: - Slow path

  /// The same for any key: the top bits of an array's are its size class, of a type's are 0.
  private static func home(_ key: UInt, mask: UInt) -> UInt {
    ((key >> 4) &+ (key >> 48) &* 5) & mask
  }

  /// The entry of a key, moved to its home; nil when the type is new to the thread.
  package func find(_ key: UInt) -> UnsafeMutablePointer<CacheEntry>? {
    let home = Self.home(key, mask: mask)
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

  /// Adds an entry without a run for a new key.
  package mutating func add(
    _ key: UInt, _ kind: CacheEntry.Kind, shelf: SpanShelf, slotSize: Int
  ) -> UnsafeMutablePointer<CacheEntry> {
    if (used + 1) * 4 > Int(mask) + 1 { growTable() }
    var entry = CacheEntry()
    entry.key = key
    entry.slotSize = UInt(slotSize)
    entry.shelfAddress = shelf.address
    entry.kind = kind
    insert(entry)
    used += 1
    // Found: it has just been put in.
    return unsafe find(key).unsafelyUnwrapped
  }

  private func insert(_ entry: CacheEntry) {
    var place = Self.home(entry.key, mask: mask)
    while unsafe entries[Int(place)].key != 0 { place = (place + 1) & mask }
    unsafe entries[Int(place)] = entry
  }

  private mutating func growTable() {
    let old = unsafe entries
    let count = Int(mask) + 1
    unsafe entries = Self.makeTable(count * 4)
    mask = UInt(count * 4 - 1)
    for i in 0..<count where unsafe old[i].key != 0 { unsafe insert(old[i]) }
    unsafe old.deallocate()
  }

  /// Calls `body` with every entry that has a span.
  package func forEachSpan(_ body: (UnsafeMutablePointer<CacheEntry>) -> Void) {
    for i in 0...Int(mask) where unsafe entries[i].spanAddress != 0 {
      unsafe body(entries + i)
    }
  }

  /// Reports what is wrong with the entries and their spans.
  package func checkInvariants(_ report: (String) -> Void) {
    var count = 0
    for i in 0...Int(mask) where unsafe entries[i].key != 0 {
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
