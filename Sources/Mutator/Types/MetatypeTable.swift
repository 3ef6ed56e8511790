// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What is known about a type, found by its metatype without a lock.
//
// Warm paths ask for the record of a type: an array's allocation, a store while a collector
// marks. A program has few types and asks often, so looking up takes no lock, and adding may
// take its time.
//
// A hash table with linear probing, from the address of a metatype to a word that is never 0
// (the address of a record, which the table's owner keeps):
//
//     current ──► mask │ key, value │ key, value │ …        key 0: the place is empty
//
// An entry is added once and stays. A table that is half full is copied into one of twice the
// size. The old one stays, too, because a thread may still be reading it: all old ones together
// are smaller than the current one.
//
// Guarded by: the lock inside, adding and growing; reading by nothing.
// Ordering    A value is written before its key, and a table is filled before it is current;
//             both are published with a releasing store, whose pair is the acquiring load in
//             `find`. A thread that reads an old table misses the newest keys. It then asks
//             again with the lock held.

internal import Heap
internal import Synchronization

/// A table of words by metatype.
///
/// Reading takes no lock.
@safe package struct MetatypeTable: ~Copyable, @unchecked Sendable {
  // Sendable: atomics, and a lock around what changes them.

  /// A number of words: the mask, then two for each place.
  private typealias Words = UnsafeMutablePointer<Atomic<UInt>>

  private struct State {
    var count = 0
    var tables: [UInt] = []
  }

  private let current: Atomic<UInt>
  private let state: HeapLock<State>

  /// Places of a new table: 1 KiB.
  ///
  /// More costs memory for each heap, less means growing sooner.
  private static var initialPlaces: UInt { 64 }

  /// An empty table.
  package init() {
    let first = Self.makeTable(Self.initialPlaces)
    current = Atomic(first)
    state = HeapLock(State(tables: [first]), rank: .types)
  }

  deinit {
    state.withLock { state in
      for table in state.tables { unsafe Self.words(table).deallocate() }
    }
  }

  private static func makeTable(_ places: UInt) -> UInt {
    let count = 1 + 2 * Int(places)
    let words = Words.allocate(capacity: count)
    for index in 0..<count { unsafe (words + index).initialize(to: Atomic(0)) }
    unsafe words[0].store(places - 1, ordering: .relaxed)
    return UInt(bitPattern: words)
  }

  private static func words(_ table: UInt) -> Words {
    // SAFETY: the address of a table, which lives as long as this one.
    unsafe Words(bitPattern: table).unsafelyUnwrapped
  }

  // MARK: - Fast path

  /// The value of a key, or nil if the key is new.
  package func find(_ key: UInt) -> UInt? {
    let words = unsafe Self.words(current.load(ordering: .acquiring))
    let place = unsafe Self.place(of: key, in: words)
    guard unsafe words[place].load(ordering: .acquiring) == key else { return nil }
    return unsafe words[place + 1].load(ordering: .relaxed)
  }

  /// Where a key is, or where it would be.
  @inline(__always)
  private static func place(of key: UInt, in words: Words) -> Int {
    let mask = unsafe words[0].load(ordering: .relaxed)
    // Fibonacci hashing. Metatypes are aligned: the low bits say nothing.
    var place = ((key >> 4) &* 0x9E37_79B9_7F4A_7C15) >> 32 & mask
    while true {
      let index = 1 + 2 * Int(bitPattern: place)
      let found = unsafe words[index].load(ordering: .acquiring)
      if found == key || found == 0 { return index }
      place = (place + 1) & mask
    }
  }

  // MARK: - Slow path

  /// The value of a key; `make` makes it if the key is new, with the lock held.
  package func find<Failure: Error>(
    _ key: UInt, orMake make: () throws(Failure) -> UInt
  ) throws(Failure) -> UInt {
    if let value = find(key) { return value }
    return try state.withLock { state throws(Failure) -> UInt in
      // Another thread may have added it meanwhile.
      if let value = find(key) { return value }
      let value = try make()
      require(value != 0, "0 is no value of a table of types")
      let mask = unsafe Self.words(state.tables.last!)[0].load(ordering: .relaxed)
      if UInt(state.count) * 2 > mask { grow(&state) }
      unsafe Self.add(key, value, to: Self.words(state.tables.last!))
      state.count += 1
      return value
    }
  }

  private static func add(_ key: UInt, _ value: UInt, to words: Words) {
    let place = unsafe place(of: key, in: words)
    unsafe words[place + 1].store(value, ordering: .relaxed)
    unsafe words[place].store(key, ordering: .releasing)
  }

  private func grow(_ state: inout State) {
    let old = unsafe Self.words(state.tables.last!)
    let places = unsafe old[0].load(ordering: .relaxed) + 1
    let new = Self.makeTable(places * 2)
    for place in 0..<Int(places) {
      let key = unsafe old[1 + 2 * place].load(ordering: .relaxed)
      guard key != 0 else { continue }
      let value = unsafe old[2 + 2 * place].load(ordering: .relaxed)
      unsafe Self.add(key, value, to: Self.words(new))
    }
    state.tables.append(new)
    current.store(new, ordering: .releasing)
  }

  /// Calls `body` with the value of every key. Nobody adds a key meanwhile.
  package func forEachValue(_ body: (UInt) -> Void) {
    let words = unsafe Self.words(current.load(ordering: .acquiring))
    for place in 0...Int(unsafe words[0].load(ordering: .relaxed)) {
      let key = unsafe words[1 + 2 * place].load(ordering: .acquiring)
      if key != 0 { body(unsafe words[2 + 2 * place].load(ordering: .relaxed)) }
    }
  }

  /// The number of keys, and the bytes of all tables.
  package var measures: (keys: Int, bytes: Int) {
    state.withLock { state in
      let places = state.tables.reduce(0) { sum, table in
        sum + Int(unsafe Self.words(table)[0].load(ordering: .relaxed)) + 1
      }
      return (state.count, 16 * places)
    }
  }
}
