// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The cache itself: chained buckets, and a doubly linked list from the newest entry to the oldest.
//
// This is the structure that reference counting cannot hold without help: `newer` and `older` make
// a cycle of every two neighbours, so that one of the two would have to be weak or unowned, and
// each of the six stores that move an entry to the front would count up one object and down
// another. Here both are plain references. An entry that is evicted is unlinked and no longer
// mentioned; its payload goes with it.
//
//     buckets   [ • ][ nil ][ • ] …        HeapArray, a power of two long
//                 ↓           ↓
//               entry →     entry          `chain`: next entry with the same bucket
//                 ↕           ↕
//     newest → entry ⇄ entry ⇄ entry ← oldest
//
// The cache is a heap object of its own, so that its ends are fields like any other: the whole
// structure hangs on a single reference. Whoever holds it on a stack keeps all of it.
//
// Owner: one thread. Nothing here is synchronised.

internal import Mutator

struct Entry: HeapObject {
  let key: Int
  /// Next in the bucket.
  var chain: HeapRef<Entry>?
  var newer: HeapRef<Entry>?
  var older: HeapRef<Entry>?
  var payload: HeapArray<UInt8>
}

struct Cache: HeapObject {
  let buckets: HeapArray<HeapRef<Entry>?>
  /// The number of buckets is two to this power.
  let bits: UInt32
  var newest: HeapRef<Entry>?
  var oldest: HeapRef<Entry>?

  /// Makes an empty cache with a bucket or more for each of `capacity` entries.
  static func make(capacity: Int, in mutator: HeapMutator) -> HeapRef<Cache> {
    var bits: UInt32 = 1
    while 1 << bits < capacity { bits += 1 }
    let buckets = mutator.allocateArray(
      of: HeapRef<Entry>?.self, count: 1 << bits, repeating: nil)
    return mutator.allocate(Cache(buckets: buckets, bits: bits, newest: nil, oldest: nil))
  }
}

extension Entry {
  /// Makes a payload of 16 to 512 bytes.
  static func makePayload(key: Int, random: Int, in mutator: HeapMutator) -> HeapArray<UInt8> {
    let payload = mutator.allocateArray(of: UInt8.self, count: 16 + random % 497, repeating: 0)
    payload[0] = UInt8(truncatingIfNeeded: key)
    return payload
  }
}

// MARK: - Operations

extension HeapRef<Cache> {
  /// Where the chain of a key begins.
  func bucket(of key: Int) -> Int {
    Int(UInt32(truncatingIfNeeded: key &* 2_654_435_761) >> (32 - self.bits))
  }

  func find(_ key: Int) -> HeapRef<Entry>? {
    var next = self.buckets[bucket(of: key)]
    while let entry = next, entry.key != key { next = entry.chain }
    return next
  }

  /// Puts a new entry into its bucket.
  ///
  /// It is not yet in the list.
  func insert(_ entry: HeapRef<Entry>) {
    let index = bucket(of: entry.key)
    entry.chain = self.buckets[index]
    self.buckets[index] = entry
  }

  /// Takes an entry out of the list.
  ///
  /// It stays in its bucket.
  func unlink(_ entry: HeapRef<Entry>) {
    let newer = entry.newer
    let older = entry.older
    if let newer { newer.older = older } else { self.newest = older }
    if let older { older.newer = newer } else { self.oldest = newer }
    entry.newer = nil
    entry.older = nil
  }

  func pushFront(_ entry: HeapRef<Entry>) {
    let second = self.newest
    entry.older = second
    if let second { second.newer = entry } else { self.oldest = entry }
    self.newest = entry
  }

  /// Drops the entry that was not used for the longest time.
  func evict() {
    guard let entry = self.oldest else { return }
    unlink(entry)
    let index = bucket(of: entry.key)
    guard var before = self.buckets[index], before != entry else {
      self.buckets[index] = entry.chain
      return
    }
    while let next = before.chain, next != entry { before = next }
    before.chain = entry.chain
  }
}
