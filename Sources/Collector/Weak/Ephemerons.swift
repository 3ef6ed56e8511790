// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Ephemerons: a value that lives while a key and a map do.
//
//     map ──► … ──► entry { key, map, box } ┄┄┄► key
//                      ┆
//                      └┄┄ if map and key are marked ┄┄► box { value }
//
// An entry is an object without references, as far as the marker knows. Its box is an object like any
// other, to which nothing but the entry refers. This table knows every entry, and sees to it that when
// marking ends
//
//     the map is marked and the key is     the box is marked, and read
//     one of them is not                   the entry does not count
//
// While marking goes on a box may be white whose key is not. A mutator that looks the key up has key and
// map on its stack, so both will be marked in this cycle, and so will the box. That is why a look-up is
// two loads and has no barrier. A new entry's box is new as well. It is black, or on the stack of a
// thread that has not been scanned yet. To replace a value is a store into the box. To remove an
// entry is a store into the entry, which records the box.
//
// `propagate` is called when nothing grey is known. It goes through the entries that are still open.
// If boxes can be marked, it marks them, with all that they lead to; and so that a chain of ephemerons
// takes time in proportion to its length, it first makes a table of what the other entries wait
// for, and the marker tells it of every object that becomes marked (EphemeronWatcher). Mutators mark
// meanwhile, and tell nobody. What they have marked is found by the next call, which goes through what
// is open then. If that finds nothing, and nobody notes work in the rounds that follow, marking ends.
//
// Entries are settled as weak references are (WeakTable). The key and the box of a settled entry are as
// old as the entry, or older, so a minor cycle leaves settled entries alone. (A value that is
// replaced puts the box on a card, as any store does.)
//
// Owner       `propagate` and `settle`: the collector's thread. `add`: any thread.
// Guarded by  the lock inside; an entry's words are atomic.
// Model: Verification/weak.pml, EPHEMERON

internal import CHeapShims
internal import Heap
package import Synchronization

/// Where an entry of an ephemeron map is, and what the collector knows of it.
@safe package struct EphemeronAddress: Sendable {
  package let address: UInt

  init(address: UInt) { self.address = address }

  /// The entry at an object's first address.
  package init(_ object: UnsafeMutableRawPointer) { address = UInt(bitPattern: object) }

  private var words: UnsafeMutablePointer<Atomic<UInt>> {
    // SAFETY: an entry is three words, and atomic words have the layout of words.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// The key's address; 0: the entry has been removed, or its key has died.
  ///
  /// Relaxed: who compares it has the key, and who follows it is the collector.
  package var key: UInt { unsafe words[0].load(ordering: .relaxed) }

  /// The map's address.
  var map: UInt { unsafe words[1].load(ordering: .relaxed) }

  /// The box's address.
  ///
  /// Relaxed: whoever follows it has loaded the entry through a reference.
  package var box: UInt { unsafe words[2].load(ordering: .relaxed) }

  /// Map and key are marked, so the box has to be.
  fileprivate var isReached: Bool {
    key != 0 && MarkBit(of: map).isSet && MarkBit(of: key).isSet
  }

  /// The program removes the entry: its box is recorded while the heap is marked.
  package func remove() {
    if heap_barrier_is_up() { WriteBarrier.record(slot: address + 16, new: 0) }
    empty()
  }

  /// The entry's key has died. The map counts it.
  fileprivate func clear() {
    MapCount(map: map).add(1)
    empty()
  }

  private func empty() {
    unsafe words[0].store(0, ordering: .relaxed)
    unsafe words[2].store(0, ordering: .relaxed)
  }
}

/// How many entries of a map are dead, and still in its table: the first word of the map's object. The
/// collector and the program both change it.
@safe package struct MapCount {
  private let map: UInt

  init(map: UInt) { self.map = map }

  package init(_ map: UnsafeMutableRawPointer) { self.map = UInt(bitPattern: map) }

  private var word: UnsafeMutablePointer<Atomic<Int>> {
    // SAFETY: the map's object begins with the count.
    unsafe UnsafeMutablePointer(bitPattern: map).unsafelyUnwrapped
  }

  /// Relaxed: a figure.
  package func add(_ number: Int) { unsafe word.pointee.wrappingAdd(number, ordering: .relaxed) }
  package var value: Int { unsafe word.pointee.load(ordering: .relaxed) }
}

/// All ephemerons of a heap.
@safe package final class EphemeronTable: @unchecked Sendable {
  // Sendable: a lock and atomics; the rest belongs to the collector's thread.

  private struct Entries: ~Copyable {
    /// Made since the collector settled last.
    var young = WordBag()
    var settled = WordBag()
  }

  private let entries = HeapLock(Entries(), rank: .weak)
  /// Entries that are known. Relaxed: a figure.
  private let known = Atomic<Int>(0)
  /// How often the collector has looked at an entry. Relaxed: a figure.
  package let looks = Atomic<Int>(0)

  /// A cycle's entries, from its first `propagate` on. Owner: the collector's thread.
  private var isUnderWay = false
  /// Their boxes were not marked when they were looked at.
  private var open = WordBag()
  /// Their boxes are marked, or they have been removed.
  private var done = WordBag()

  init() {}

  // MARK: - The program's side

  /// Makes an entry known whose words are set. Its maker holds key, map and box, and passes no
  /// safepoint between the allocation of the entry and this call.
  package func add(_ entry: EphemeronAddress) {
    entries.withLock { $0.young.append(entry.address) }
    known.add(1, ordering: .relaxed)
  }

  // MARK: - The collector's side

  /// Marks the boxes whose maps and keys are marked, with all that follows from it; whether there were
  /// any. Nothing grey is known.
  func propagate(_ kind: CycleKind, _ crew: MarkCrew) -> Bool {
    guard known.load(ordering: .relaxed) > 0 else { return false }
    begin(kind)
    var boxes: [UInt] = []
    var looked = 0
    filter(&open) { entry in
      looked += 1
      let box = entry.box
      if box != 0, !MarkBit(of: box).isSet {
        guard entry.isReached else { return true }
        boxes.append(box)
      }
      done.append(entry.address)
      return false
    }
    looks.add(looked, ordering: .relaxed)
    guard !boxes.isEmpty else { return false }
    let watcher = EphemeronWatcher(count: open.count)
    open.forEach { watcher.wait(EphemeronAddress(address: $0)) }
    crew.mark(boxes, telling: watcher)
    looks.add(watcher.looks, ordering: .relaxed)
    return true
  }

  /// Takes the entries that the cycle is about.
  private func begin(_ kind: CycleKind) {
    guard !isUnderWay else { return }
    isUnderWay = true
    open = entries.withLock { $0.young.takeAll() }
    if kind == .full {
      var settled = entries.withLock { $0.settled.takeAll() }
      open.add(&settled)
    }
  }

  private func filter(_ bag: inout WordBag, _ isKept: (EphemeronAddress) -> Bool) {
    bag.filter {
      heap_prefetch($0)
      heap_prefetch(MarkBit(of: $0).word)
    } follow: {
      let entry = EphemeronAddress(address: $0)
      let (key, box) = (entry.key, entry.box)
      if key != 0 { heap_prefetch(MarkBit(of: key).word) }
      if box != 0 { heap_prefetch(MarkBit(of: box).word) }
    } isKept: {
      isKept(EphemeronAddress(address: $0))
    }
  }

  /// Empties the entries whose keys are dead, and forgets those whose maps are. Marking has ended.
  func settle(_ kind: CycleKind) {
    guard known.load(ordering: .relaxed) > 0 else { return }
    begin(kind)
    isUnderWay = false
    var all = open.takeAll()
    all.add(&done)
    let before = all.count
    filter(&all) { entry in
      let key = entry.key
      guard key != 0, MarkBit(of: entry.address).isSet, MarkBit(of: entry.map).isSet else {
        return false
      }
      if MarkBit(of: key).isSet { return true }
      entry.clear()
      return false
    }
    known.subtract(before - all.count, ordering: .relaxed)
    var settled = entries.withLock { $0.settled.takeAll() }
    settled.add(&all)
    entries.withLock { $0.settled.add(&settled) }
  }

  // MARK: - Figures, checks

  /// Entries whose maps and keys live, as of the last cycle, with those made since.
  package var count: Int { known.load(ordering: .relaxed) }

  /// Calls `body` with each entry that has a key. No cycle is being settled.
  func forEach(_ body: (EphemeronAddress) -> Void) {
    entries.withLock { entries in
      func visit(_ word: UInt) {
        let entry = EphemeronAddress(address: word)
        if entry.key != 0 { body(entry) }
      }
      entries.young.forEach(visit)
      entries.settled.forEach(visit)
    }
  }

  /// Reports words of entries that are no objects. Nothing is being collected.
  func checkInvariants(owner: UInt, _ report: (String) -> Void) {
    forEach { entry in
      for word in [entry.address, entry.map, entry.key, entry.box]
      where HeapSpan.lookUp(word, owner: owner) == nil {
        report("an entry of an ephemeron map has \(StoreCheck.hex(word)), which is no object")
      }
    }
  }
}

/// What entries wait for, while the collector marks what follows from one that waits no more.
///
/// Owner: the collector's thread.
final class EphemeronWatcher {
  /// The first entry that waits for an object, by the object's granule; each knows the next.
  private var first: [UInt: Int] = [:]
  private var entries: [(entry: UInt, next: Int)] = []
  /// Entries that wait no more.
  private var ready: [UInt] = []
  /// How often an entry has been looked at.
  private(set) var looks = 0

  init(count: Int) {
    first.reserveCapacity(count)
    entries.reserveCapacity(count)
  }

  /// Objects that share a granule are tiny, and share their mark.
  private static func granule(_ object: UInt) -> UInt { object >> Geometry.granuleShift }

  /// Has an entry wait for its map or its key, whichever is not marked.
  func wait(_ entry: EphemeronAddress) {
    looks += 1
    let (key, map) = (entry.key, entry.map)
    guard key != 0 else { return }
    let awaited = Self.granule(MarkBit(of: map).isSet ? key : map)
    entries.append((entry.address, first[awaited] ?? -1))
    first[awaited] = entries.count - 1
  }

  /// An object has become marked: nobody waits for it any more.
  func becameMarked(_ object: UInt) {
    guard var index = first.removeValue(forKey: Self.granule(object)) else { return }
    while index >= 0 {
      ready.append(entries[index].entry)
      index = entries[index].next
    }
  }

  /// Marks the boxes of entries that wait no more; false if there are none.
  func markMore(_ marker: inout Marker) -> Bool {
    guard !ready.isEmpty else { return false }
    while let address = ready.popLast() {
      let entry = EphemeronAddress(address: address)
      if entry.isReached {
        looks += 1
        let box = entry.box
        if box != 0 { marker.mark(box) }
      } else {
        wait(entry)
      }
    }
    return true
  }
}
