// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// One object for each different member name.
//
// Documents repeat their names: a million records have the same ten. The table hands out the same
// `Key` for the same text, which saves memory and makes names comparable by identity. Keys are
// numbered, so that sets of keys can be kept as arrays of numbers.
//
//     slots    [ nil | • | nil | • | … ]   HeapArray<HeapRef<Key>?>, a power of two, at most 2/3 full
//     hashes   [  –  | h |  –  | h | … ]   a Swift array, since a hash is not a reference
//
// Open addressing with linear probing; nothing is ever removed. The hash is Swift's, seeded anew in
// each process: a document cannot be made to collide on purpose.

internal import Mutator

/// The member names of a document, owned by one function.
struct KeyTable {
  private var slots: HeapArray<HeapRef<Key>?>
  private var hashes: [Int]
  /// How many different names there are.
  private(set) var count = 0

  init(in mutator: HeapMutator) {
    slots = mutator.allocateArray(of: HeapRef<Key>?.self, count: 64, repeating: nil)
    hashes = [Int](repeating: 0, count: 64)
  }

  /// The key with a text, which is made if it is new.
  mutating func key(
    for text: UnsafeBufferPointer<UInt8>, in mutator: HeapMutator
  ) -> HeapRef<Key> {
    var hasher = Hasher()
    unsafe hasher.combine(bytes: UnsafeRawBufferPointer(text))
    let hash = hasher.finalize()

    let mask = hashes.count - 1
    var slot = hash & mask
    while let key = slots[slot] {
      if hashes[slot] == hash, unsafe key.text.elementsEqual(text) { return key }
      slot = (slot + 1) & mask
    }

    let key = unsafe mutator.allocate(Key(text: mutator.allocateBytes(text), number: count))
    slots[slot] = key
    hashes[slot] = hash
    count += 1
    if count * 3 > hashes.count * 2 { grow(in: mutator) }
    return key
  }

  private mutating func grow(in mutator: HeapMutator) {
    let size = hashes.count * 2
    let newSlots = mutator.allocateArray(of: HeapRef<Key>?.self, count: size, repeating: nil)
    var newHashes = [Int](repeating: 0, count: size)
    for (old, hash) in hashes.enumerated() {
      guard let key = slots[old] else { continue }
      var slot = hash & (size - 1)
      while newSlots[slot] != nil { slot = (slot + 1) & (size - 1) }
      newSlots[slot] = key
      newHashes[slot] = hash
    }
    slots = newSlots
    hashes = newHashes
  }
}
