// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Where in a dictionary's entries a key is.
//
// An array of words without references:
//
//     word 0            mask: the number of places - 1, a power of two - 1; never changes
//     words 1…          the places: 0, or  32 bits of the key's hash | number of the entry + 1
//     behind them       a bit for each entry: it is there
//
// Open addressing with linear probing. A key's home is the place that the low bits of its hash name; it
// is there or behind it, with no empty place between. At most three quarters of the places are taken.
//
// A place has 32 bits of the hash. So looking for a key compares a key only where these bits are equal,
// which is hardly ever for nothing. And no key is hashed twice: neither growing nor removing calls the
// program's code.
//
// What is removed leaves nothing: the places behind it that would not be found any more move up. So no
// sequence of insertions and removals makes looking slower, as marks for what was removed would.
//
// Invariants  The number of an entry in a place is below `capacity`: whoever writes a place has seen to
//             that. So the bit for an entry that was read from here is in here, whatever another
//             thread does to the dictionary.
//             Loops over places end after all of them. In a correct program they end at an empty one.

internal import Collector
internal import Heap

/// The index of a dictionary's entries.
@safe @frozen @usableFromInline package struct DictionaryIndex {
  @usableFromInline let words: HeapArray<UInt>

  @inlinable @inline(__always) init(_ words: HeapArray<UInt>) { self.words = words }

  @inlinable var base: UnsafeMutablePointer<UInt> {
    @inline(__always) get { unsafe words.elements.assumingMemoryBound(to: UInt.self) }
  }

  /// The number of places - 1.
  @inlinable var mask: UInt {
    @inline(__always) get { unsafe base[0] }
  }

  /// How many entries it can know.
  @inlinable var capacity: Int {
    @inline(__always) get { Self.capacity(mask) }
  }

  @inlinable @inline(__always)
  static func capacity(_ mask: UInt) -> Int { Int(bitPattern: mask &- mask &>> 2) }

  /// The pointer to a place.
  ///
  /// - Precondition: `number` is at most `mask`.
  @inlinable @inline(__always)
  func place(_ number: UInt) -> UnsafeMutablePointer<UInt> {
    unsafe base + Int(bitPattern: number &+ 1)
  }

  /// What a place holds for an entry.
  @inlinable @inline(__always)
  static func word(_ tag: UInt, _ entry: Int) -> UInt {
    tag &<< 32 | UInt(bitPattern: entry &+ 1)
  }

  /// The number of the entry that a word of a place names.
  @inlinable @inline(__always)
  static func entry(_ word: UInt) -> Int { Int(bitPattern: word & 0xffff_ffff) &- 1 }

  /// The pointer to the word with the bits of 64 entries.
  ///
  /// - Precondition: `group` is that of an entry below `capacity`.
  @inlinable @inline(__always)
  func bits(_ group: Int) -> UnsafeMutablePointer<UInt> {
    unsafe base + (Int(bitPattern: mask) &+ 2 &+ group)
  }

  /// Whether an entry is there.
  @inlinable @inline(__always)
  func has(_ entry: Int) -> Bool {
    unsafe entry < capacity && bits(entry &>> 6).pointee &>> UInt(entry & 63) & 1 != 0
  }

  // MARK: - Changes

  /// Makes a new entry known, which is in none of the places.
  ///
  /// - Precondition: `entry` is below `capacity`.
  @inlinable @inline(__always)
  func insert(_ tag: UInt, _ entry: Int) {
    let mask = self.mask
    var place = tag & mask
    var left = mask
    while unsafe self.place(place).pointee != 0 {
      if left == 0 { ContainerFailure.damaged("HeapDictionary") }
      left &-= 1
      place = (place &+ 1) & mask
    }
    unsafe self.place(place).pointee = Self.word(tag, entry)
    unsafe bits(entry &>> 6).pointee |= 1 &<< UInt(entry & 63)
  }

  /// Forgets an entry; places behind it move up.
  ///
  /// - Parameter place: where the entry is.
  @usableFromInline func remove(_ place: UInt, _ entry: Int) {
    let mask = self.mask
    guard place <= mask, Self.entry(unsafe self.place(place).pointee) == entry else {
      ContainerFailure.damaged("HeapDictionary")
    }
    unsafe bits(entry &>> 6).pointee &= ~(1 &<< UInt(entry & 63))
    var (hole, next) = (place, place)
    for _ in 0..<mask {
      next = (next &+ 1) & mask
      let word = unsafe self.place(next).pointee
      if word == 0 { break }
      // It may move to the hole if that is not before its home.
      let home = word &>> 32 & mask
      if (next &- home) & mask >= (next &- hole) & mask {
        unsafe self.place(hole).pointee = word
        hole = next
      }
    }
    unsafe self.place(hole).pointee = 0
  }

  /// Forgets all entries.
  @usableFromInline func removeAll() {
    unsafe place(0).update(repeating: 0, count: words.count - 1)
  }

  /// The first entry from a number on that is there; `end` if there is none before.
  ///
  /// - Precondition: `end` is at most `capacity`, and `first` at most `end`.
  @inlinable
  func next(from first: Int, before end: Int) -> Int {
    guard first < end else { return end }
    var group = first &>> 6
    var left = unsafe bits(group).pointee & ~0 &<< UInt(first & 63)
    while left == 0 {
      group &+= 1
      if group &<< 6 >= end { return end }
      left = unsafe bits(group).pointee
    }
    return min(group &<< 6 &+ left.trailingZeroBitCount, end)
  }

  /// The place of an entry, by its number.
  @usableFromInline func place(of entry: Int, _ tag: UInt) -> UInt? {
    let mask = self.mask
    var place = tag & mask
    for _ in 0...mask {
      if unsafe self.place(place).pointee == Self.word(tag, entry) { return place }
      place = (place &+ 1) & mask
    }
    return nil
  }

  // MARK: - Growing

  /// The number of words of an index for so many entries.
  static func wordCount(places: Int) -> Int {
    1 + places + (capacity(UInt(places - 1)) + 63) / 64
  }

  /// How many places an index has for so many entries.
  static func places(toHold entries: Int) -> Int {
    var places = 4
    while capacity(UInt(places - 1)) < entries { places *= 2 }
    return places
  }

  /// An empty index for at least so many entries.
  ///
  /// - Throws: `HeapError.outOfMemory`, also if the entries are more than can be numbered.
  @usableFromInline static func tryMake(
    toHold entries: Int, in mutator: HeapMutator
  ) throws(HeapError) -> DictionaryIndex {
    // An entry has 32 bits for its number.
    guard entries < 3 << 30 else { throw .outOfMemory(requested: .max, limit: nil) }
    let places = entries == 0 ? 1 : places(toHold: entries)
    let words = try mutator.tryAllocateArray(
      of: UInt.self, count: wordCount(places: places), repeating: 0)
    words[0] = UInt(places - 1)
    return DictionaryIndex(words)
  }

  /// Takes over all entries of another index, in their order and without gaps.
  ///
  /// - Precondition: there is room for them, and this index is empty.
  @usableFromInline func fill(from old: DictionaryIndex) {
    // How many entries are there before each group of 64.
    let groups = (old.capacity + 63) / 64
    unsafe withUnsafeTemporaryAllocation(of: Int.self, capacity: max(groups, 1)) { before in
      var sum = 0
      for group in 0..<groups {
        unsafe before[group] = sum
        sum += unsafe old.bits(group).pointee.nonzeroBitCount
      }
      // In the order of the old places: these are in the order of the hashes' low bits, but for one
      // more bit, and so are the new ones.
      for number in 0...old.mask {
        let word = unsafe old.place(number).pointee
        guard word != 0 else { continue }
        let entry = Self.entry(word)
        let below = unsafe old.bits(entry >> 6).pointee & ~(~0 << UInt(entry & 63))
        let place = unsafe before[entry >> 6] + below.nonzeroBitCount
        guard place < capacity else { ContainerFailure.damaged("HeapDictionary") }
        insert(word >> 32, place)
      }
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

  /// Calls `body` with the first entry and the length of each row of entries that are there.
  func forEachRun(before end: Int, _ body: (_ first: Int, _ length: Int) -> Void) {
    var first = next(from: 0, before: end)
    while first < end {
      var last = first
      // Whole groups at a time.
      while last < end {
        let absent = unsafe ~bits(last >> 6).pointee >> UInt(last & 63)
        let length = min(absent.trailingZeroBitCount, 64 - last & 63)
        last += length
        if last & 63 != 0 || length == 0 { break }
      }
      last = min(last, end)
      body(first, last - first)
      first = next(from: last, before: end)
    }
  }
}
