// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Where in a dictionary's entries a key is.
//
// An array of half words without references:
//
//     1                mask: the number of places - 1, a power of two - 1; never changes
//     mask + 1         the places: 0, or  high bits of the key's hash | number of the entry + 1
//     capacity         32 bits of the hash of each entry's key
//     capacity / 32    a bit for each entry: it is there
//
// Open addressing with linear probing. A key's home is the place that the low bits of its hash name; it
// is there or behind it, with no empty place between. At most three quarters of the places are taken.
//
// A place has as many bits for the entry as the mask has, and the other bits of the hash: 28 in the
// smallest index, 12 in one for 800,000 entries. Looking for a key compares a key only where these are
// equal, which is hardly ever for nothing, and reads a place of four bytes before the entry: the places
// of a large dictionary are what the processor's caches should hold.
//
// No key is hashed twice: neither growing nor removing calls the program's code.
//
// What is removed leaves nothing: the places behind it that would not be found any more move up. So no
// sequence of insertions and removals makes looking slower, as marks for what was removed would.
//
// Invariants  The number of an entry in a place is below `capacity`: whoever writes a place has seen to
//             that. So the hash and the bit of an entry that was read from here are in here, whatever
//             another thread does to the dictionary.
//             Loops over places end after all of them. In a correct program they end at an empty one.

internal import Collector
internal import Heap

/// The index of a dictionary's entries.
@safe @frozen @usableFromInline package struct DictionaryIndex {
  @usableFromInline let words: HeapArray<UInt32>

  @inlinable @inline(__always) init(_ words: HeapArray<UInt32>) { self.words = words }

  @inlinable var base: UnsafeMutablePointer<UInt32> {
    @inline(__always) get { unsafe words.elements.assumingMemoryBound(to: UInt32.self) }
  }

  /// The number of places - 1.
  @inlinable var mask: UInt32 {
    @inline(__always) get { unsafe base[0] }
  }

  /// How many entries it can know.
  @inlinable var capacity: Int {
    @inline(__always) get { Self.capacity(mask) }
  }

  @inlinable @inline(__always)
  static func capacity(_ mask: UInt32) -> Int { Int(mask &- mask &>> 2) }

  /// The pointer to a place.
  ///
  /// - Precondition: `number` is at most `mask`.
  @inlinable @inline(__always)
  func place(_ number: UInt32) -> UnsafeMutablePointer<UInt32> {
    unsafe base + (Int(number) &+ 1)
  }

  /// The number of the entry that a word of a place names.
  @inlinable @inline(__always)
  static func entry(_ word: UInt32, _ mask: UInt32) -> Int { Int(word & mask) &- 1 }

  /// Whether a word may be that of a key with a hash: the entry's number does not matter.
  @inlinable @inline(__always)
  static func matches(_ word: UInt32, _ hash: UInt32, _ mask: UInt32) -> Bool {
    (word ^ hash) & ~mask == 0
  }

  /// The pointer to the hash of an entry's key.
  ///
  /// - Precondition: `entry` is below `capacity`.
  @inlinable @inline(__always)
  func hash(_ entry: Int) -> UnsafeMutablePointer<UInt32> {
    unsafe base + (Int(mask) &+ 2 &+ entry)
  }

  /// The pointer to the bits of 32 entries.
  ///
  /// - Precondition: `group` is that of an entry below `capacity`.
  @inlinable @inline(__always)
  func bits(_ group: Int) -> UnsafeMutablePointer<UInt32> {
    unsafe base + (Int(mask) &+ 2 &+ capacity &+ group)
  }

  /// Whether an entry is there.
  @inlinable @inline(__always)
  func has(_ entry: Int) -> Bool {
    unsafe entry < capacity && bits(entry &>> 5).pointee &>> UInt32(entry & 31) & 1 != 0
  }

  // MARK: - Changes

  /// Makes a new entry known, which is in none of the places.
  ///
  /// - Precondition: `entry` is below `capacity`.
  @inlinable @inline(__always)
  func insert(_ hash: UInt32, _ entry: Int) {
    let mask = self.mask
    var place = hash & mask
    var left = mask
    while unsafe self.place(place).pointee != 0 {
      if left == 0 { ContainerFailure.damaged("HeapDictionary") }
      left &-= 1
      place = (place &+ 1) & mask
    }
    unsafe self.place(place).pointee = hash & ~mask | UInt32(truncatingIfNeeded: entry &+ 1)
    unsafe self.hash(entry).pointee = hash
    unsafe bits(entry &>> 5).pointee |= 1 &<< UInt32(entry & 31)
  }

  /// Forgets an entry; places behind it move up.
  ///
  /// - Parameter place: where the entry is.
  @usableFromInline func remove(_ place: UInt32, _ entry: Int) {
    let mask = self.mask
    guard place <= mask, Self.entry(unsafe self.place(place).pointee, mask) == entry else {
      ContainerFailure.damaged("HeapDictionary")
    }
    unsafe bits(entry &>> 5).pointee &= ~(1 &<< UInt32(entry & 31))
    var (hole, next) = (place, place)
    for _ in 0..<mask {
      next = (next &+ 1) & mask
      let word = unsafe self.place(next).pointee
      if word == 0 { break }
      // It may move to the hole if that is not before its home.
      let home = unsafe hash(Self.entry(word, mask)).pointee & mask
      if (next &- home) & mask >= (next &- hole) & mask {
        unsafe self.place(hole).pointee = word
        hole = next
      }
    }
    unsafe self.place(hole).pointee = 0
  }

  /// The place of an entry that is there.
  @usableFromInline func place(of entry: Int) -> UInt32? {
    let mask = self.mask
    let hash = unsafe self.hash(entry).pointee
    var place = hash & mask
    for _ in 0...mask {
      let word = unsafe self.place(place).pointee
      if word != 0, Self.entry(word, mask) == entry { return place }
      place = (place &+ 1) & mask
    }
    return nil
  }

  /// Forgets all entries. A safepoint if the index is large.
  @usableFromInline func removeAll() {
    var done = 1
    while done < words.count {
      let length = min(words.count - done, ElementMove.piece / 4)
      unsafe (base + done).update(repeating: 0, count: length)
      done += length
      if done < words.count { Safepoints.answer() }
    }
  }

  // MARK: - Going over the entries

  /// The first entry from a number on that is there; `end` if there is none before.
  ///
  /// - Precondition: `end` is at most `capacity`, and `first` at most `end`.
  @inlinable
  func next(from first: Int, before end: Int) -> Int {
    guard first < end else { return end }
    var group = first &>> 5
    var left = unsafe bits(group).pointee & ~0 &<< UInt32(first & 31)
    while left == 0 {
      group &+= 1
      if group &<< 5 >= end { return end }
      left = unsafe bits(group).pointee
    }
    return min(group &<< 5 &+ left.trailingZeroBitCount, end)
  }

  /// Calls `body` with the first entry and the length of each row of entries that are there.
  func forEachRun(before end: Int, _ body: (_ first: Int, _ length: Int) -> Void) {
    var first = next(from: 0, before: end)
    while first < end {
      var last = first
      // Whole groups at a time.
      while last < end {
        let absent = unsafe ~bits(last >> 5).pointee >> UInt32(last & 31)
        let length = min(absent.trailingZeroBitCount, 32 - last & 31)
        last += length
        if last & 31 != 0 || length == 0 { break }
      }
      last = min(last, end)
      body(first, last - first)
      first = next(from: last, before: end)
    }
  }

  // MARK: - Growing

  /// The number of half words of an index with so many places.
  static func wordCount(places: Int) -> Int {
    let capacity = capacity(UInt32(places - 1))
    return 1 + places + capacity + (capacity + 31) / 32
  }

  /// How many places an index has for so many entries.
  static func places(toHold entries: Int) -> Int {
    var places = 4
    while capacity(UInt32(places - 1)) < entries { places *= 2 }
    return places
  }

  /// An empty index for at least so many entries.
  ///
  /// - Throws: `HeapError.outOfMemory`, also if the entries are more than can be numbered.
  @usableFromInline static func tryMake(
    toHold entries: Int, in mutator: HeapMutator
  ) throws(HeapError) -> DictionaryIndex {
    // Three quarters of 2³¹ places: one bit of the hash is left then.
    guard entries <= 3 << 29 else { throw .outOfMemory(requested: .max, limit: nil) }
    let places = entries == 0 ? 1 : places(toHold: entries)
    let words = try mutator.tryAllocateArray(
      of: UInt32.self, count: wordCount(places: places), repeating: 0)
    words[0] = UInt32(places - 1)
    return DictionaryIndex(words)
  }

  /// Takes over all entries of another index, in their order and without gaps. A safepoint if they are
  /// many: the caller keeps both alive.
  ///
  /// - Precondition: this index is empty.
  @usableFromInline func fill(from old: DictionaryIndex, before end: Int) {
    let end = min(end, old.capacity)
    var number = 0
    var entry = old.next(from: 0, before: end)
    while entry < end {
      // Another thread may have changed the bits.
      guard number < capacity else { ContainerFailure.damaged("HeapDictionary") }
      insert(unsafe old.hash(entry).pointee, number)
      number += 1
      // Each of these may miss the processor's caches: a safepoint more often than in a copy.
      if number & 0x1fff == 0 { Safepoints.answer() }
      entry = old.next(from: entry + 1, before: end)
    }
  }

  /// Copies the entries that are there into a new storage, one behind the other.
  ///
  /// A safepoint if they are many. The caller keeps the storages alive.
  ///
  /// - Returns: how many there are.
  @usableFromInline func copyEntries(
    _ type: Any.Type, from source: UnsafeMutableRawPointer, used: Int,
    to destination: UnsafeMutableRawPointer, capacity: Int, stride: Int
  ) -> Int {
    let end = min(used, self.capacity)
    // A new object has first values up to the next safepoint (ElementMove).
    let isSmall = end * stride <= ElementMove.piece
    var (copied, sinceSafepoint) = (0, 0)
    forEachRun(before: end) { first, length in
      // Another thread may have changed the bits.
      guard length <= capacity - copied else { ContainerFailure.damaged("HeapDictionary") }
      let from = unsafe UnsafeRawPointer(source + first * stride)
      let to = unsafe destination + copied * stride
      copied += length
      if isSmall { return unsafe ElementMove.fill(type, at: to, from: from, count: length) }
      unsafe ElementMove.move(type, from: from, to: to, stride: stride, count: length)
      sinceSafepoint += length * stride
      if sinceSafepoint >= ElementMove.piece {
        sinceSafepoint = 0
        Safepoints.answer()
      }
    }
    return copied
  }
}
