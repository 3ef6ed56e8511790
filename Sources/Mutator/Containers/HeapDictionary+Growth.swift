// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A larger dictionary, or one without gaps.
//
//   1. allocate an index and a storage for entries; each is a safepoint
//   2. copy the entries that are there, one behind the other
//   3. put their new numbers into the new index, with the hashes that the old one has
//   4. store both into the dictionary's object
//
// No code of the program runs meanwhile, so nothing changes between the steps. The old index and the old
// entries stay as they are, and are garbage.

public import Heap

extension HeapDictionary {
  /// How many keys the dictionary can hold before it has to grow, if none is removed.
  @inlinable public var capacity: Int { index.capacity }

  /// Makes room for keys, so that the dictionary need not grow until it has that many.
  ///
  /// - Parameters:
  ///   - minimum: how many keys, with those that are there.
  ///   - mutator: the calling thread's mutator.
  /// - Complexity: O(capacity) if the dictionary has less room. Then it is a safepoint.
  @inlinable public func reserveCapacity(_ minimum: Int, in mutator: HeapMutator) {
    HeapMutator.unwrap { () throws(HeapError) in
      try tryReserveCapacity(minimum, in: mutator)
    }
  }

  /// Makes room for keys, or throws when there is no memory for it.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable public func tryReserveCapacity(
    _ minimum: Int, in mutator: HeapMutator
  ) throws(HeapError) {
    let gaps = entries.used &- count
    if minimum > index.capacity &- gaps { try tryGrow(toHold: minimum, mutator) }
  }

  // MARK: - Slow path

  @inlinable @inline(never)
  func grow(_ mutator: HeapMutator) {
    do throws(HeapError) {
      try tryGrow(toHold: count &+ 1, mutator)
    } catch {
      broken(error.description)
    }
  }

  /// Gives the dictionary room for at least so many keys, and for half as many again as there are.
  @inlinable @inline(never)
  func tryGrow(toHold minimum: Int, _ mutator: HeapMutator) throws(HeapError) {
    let live = count
    let new = try DictionaryIndex.tryMake(
      toHold: Swift.max(minimum, live &+ live &>> 1 &+ 1), in: mutator)
    let entries = try mutator.tryAllocateStorage(
      of: DictionaryEntry<Key, Value>.self, capacity: new.capacity)
    let (oldIndex, oldEntries) = (index, self.entries)
    changes &+= 1
    let copied = unsafe oldIndex.copyEntries(
      DictionaryEntry<Key, Value>.self, from: oldEntries.address(of: 0),
      used: Swift.min(oldEntries.used, oldEntries.capacity), to: entries.address(of: 0),
      capacity: entries.capacity, stride: MemoryLayout<DictionaryEntry<Key, Value>>.stride)
    entries.used = copied
    new.fill(from: oldIndex, before: oldEntries.used)
    // The entries first: another thread that reads an old index may then miss a key, and no more.
    entriesSlot.store(entries)
    indexSlot.store(new.words)
    oldEntries.keepAlive()
    oldIndex.words.keepAlive()
    new.words.keepAlive()
  }
}
