// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The dictionary as a collection of the standard library: of pairs, of keys, of values.
//
// A position is the number of an entry. It is valid until a key is added or removed. The iterator looks
// at `changes` at each step (HeapDictionary.swift), the subscript at the bit of the entry.

extension HeapDictionary: Collection {
  /// A key and its value.
  public typealias Element = (key: Key, value: Value)

  /// The position of a key and its value, until a key is added or removed.
  @frozen public struct Index: Hashable, Comparable, Sendable {
    @usableFromInline let entry: Int

    @inlinable init(_ entry: Int) { self.entry = entry }

    /// Whether a position is before another.
    @inlinable public static func < (a: Index, b: Index) -> Bool { a.entry < b.entry }
  }

  /// How many entries there may be: none behind it is there.
  @inlinable var end: Int { Swift.min(entries.used, index.capacity) }

  /// The position of the first pair.
  @inlinable public var startIndex: Index { Index(index.next(from: 0, before: end)) }

  /// The position behind the last pair.
  @inlinable public var endIndex: Index { Index(end) }

  /// Whether there is no key.
  @inlinable public var isEmpty: Bool { count == 0 }

  /// The position after another.
  @inlinable public func index(after index: Index) -> Index {
    let end = self.end
    guard index.entry >= 0, index.entry < end else { ContainerFailure.noEntry() }
    return Index(self.index.next(from: index.entry &+ 1, before: end))
  }

  /// The pair at a position.
  ///
  /// - Precondition: `position` is that of a pair, and no key was added or removed since.
  @inlinable public subscript(position: Index) -> Element {
    let (entries, entry) = (self.entries, position.entry)
    guard entry >= 0, entry < entries.used, index.has(entry) else { ContainerFailure.noEntry() }
    return (entries.key(entry).load(), entries.value(entry).load())
  }

  /// The position of a key, or nil if it is not there.
  ///
  /// - Complexity: O(1) on average, beside the hash and a comparison of the key.
  @inlinable public func index(forKey key: Key) -> Index? {
    find(Self.hash(of: key), { $0 == key }).map { Index($0.entry) }
  }

  /// Goes through the pairs in the order in which their keys were added.
  ///
  /// No key may be added or removed meanwhile: the next step would stop the program.
  @frozen public struct Iterator: IteratorProtocol {
    @usableFromInline let dictionary: HeapDictionary
    @usableFromInline let index: DictionaryIndex
    @usableFromInline let entries: Entries
    @usableFromInline let end: Int
    @usableFromInline var changes: Int
    /// The bits of 32 entries, from this one on, that are still to come.
    @usableFromInline var first = 0
    @usableFromInline var left: UInt32

    @inlinable init(_ dictionary: HeapDictionary) {
      self.dictionary = dictionary
      index = dictionary.index
      entries = dictionary.entries
      // Of these two objects, whatever other threads do.
      end = Swift.min(entries.used, index.capacity)
      left = unsafe end > 0 ? index.bits(0).pointee : 0
      changes = dictionary.changes
    }

    /// The next pair, or nil after the last.
    ///
    /// - Precondition: no key was added or removed since the iterator was made.
    @inlinable @inline(__always) public mutating func next() -> Element? {
      guard let entry = nextEntry() else { return nil }
      return pair(entry)
    }

    @inlinable @inline(__always) mutating func nextEntry() -> Int? {
      requireUnchanged()
      while left == 0 {
        first &+= 32
        guard first < end else {
          // So that the next step ends here, too.
          first &-= 32
          return nil
        }
        left = unsafe index.bits(first &>> 5).pointee
      }
      let entry = first &+ left.trailingZeroBitCount
      left &= left &- 1
      // No entry behind the end is there, unless another thread adds one.
      return entry < end ? entry : nil
    }

    @inlinable @inline(__always) func pair(_ entry: Int) -> Element {
      (entries.key(entry).load(), entries.value(entry).load())
    }

    @inlinable @inline(__always) func requireUnchanged() {
      guard dictionary.changes == changes else {
        ContainerFailure.changedInLoop("HeapDictionary")
      }
    }

    /// The loop itself has removed the pair that it came to last.
    @inlinable mutating func expectChange() { changes &+= 1 }
  }

  /// An iterator over the pairs.
  @inlinable @inline(__always) public func makeIterator() -> Iterator { Iterator(self) }

  // MARK: - Keys and values

  /// The keys, in the order in which they were added.
  @inlinable public var keys: Keys { Keys(self) }

  /// The values, in the order in which their keys were added.
  @inlinable public var values: Values { Values(self) }

  /// The keys of a dictionary.
  @frozen public struct Keys: Collection {
    @usableFromInline let dictionary: HeapDictionary

    @inlinable init(_ dictionary: HeapDictionary) { self.dictionary = dictionary }

    /// The position of the first key.
    @inlinable public var startIndex: Index { dictionary.startIndex }

    /// The position behind the last key.
    @inlinable public var endIndex: Index { dictionary.endIndex }

    /// The number of keys.
    @inlinable public var count: Int { dictionary.count }

    /// Whether there is no key.
    @inlinable public var isEmpty: Bool { dictionary.isEmpty }

    /// The position after another.
    @inlinable public func index(after index: Index) -> Index { dictionary.index(after: index) }

    /// The key at a position.
    @inlinable public subscript(position: Index) -> Key { dictionary[position].key }

    /// Whether a key is there.
    ///
    /// - Complexity: O(1) on average, beside the hash and a comparison of the key.
    @inlinable public func contains(_ key: Key) -> Bool { dictionary.index(forKey: key) != nil }

    /// Goes through the keys.
    @frozen public struct Iterator: IteratorProtocol {
      @usableFromInline var pairs: HeapDictionary.Iterator

      @inlinable init(_ pairs: HeapDictionary.Iterator) { self.pairs = pairs }

      /// The next key, or nil after the last.
      @inlinable public mutating func next() -> Key? { pairs.next()?.key }
    }

    /// An iterator over the keys.
    @inlinable public func makeIterator() -> Iterator { Iterator(dictionary.makeIterator()) }
  }

  /// The values of a dictionary.
  @frozen public struct Values: Collection {
    @usableFromInline let dictionary: HeapDictionary

    @inlinable init(_ dictionary: HeapDictionary) { self.dictionary = dictionary }

    /// The position of the first value.
    @inlinable public var startIndex: Index { dictionary.startIndex }

    /// The position behind the last value.
    @inlinable public var endIndex: Index { dictionary.endIndex }

    /// The number of values.
    @inlinable public var count: Int { dictionary.count }

    /// Whether there is no value.
    @inlinable public var isEmpty: Bool { dictionary.isEmpty }

    /// The position after another.
    @inlinable public func index(after index: Index) -> Index { dictionary.index(after: index) }

    /// The value at a position.
    @inlinable public subscript(position: Index) -> Value { dictionary[position].value }

    /// Goes through the values.
    @frozen public struct Iterator: IteratorProtocol {
      @usableFromInline var pairs: HeapDictionary.Iterator

      @inlinable init(_ pairs: HeapDictionary.Iterator) { self.pairs = pairs }

      /// The next value, or nil after the last.
      @inlinable public mutating func next() -> Value? { pairs.next()?.value }
    }

    /// An iterator over the values.
    @inlinable public func makeIterator() -> Iterator { Iterator(dictionary.makeIterator()) }
  }
}
