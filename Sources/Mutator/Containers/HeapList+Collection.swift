// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The list as a collection of the standard library.
//
// Indices are 0 ..< count. The iterator compares at each step what the list is with what it was when
// the loop began (HeapList.swift). Everything that goes by indices (slices, reversed(), indices)
// compares each index with the list's present count, and nothing else.

extension HeapList: RandomAccessCollection {
  /// Zero.
  @inlinable public var startIndex: Int { 0 }

  /// The number of elements.
  @inlinable public var endIndex: Int { count }

  /// The positions of the elements.
  @inlinable public var indices: Range<Int> { unsafe Range(uncheckedBounds: (0, count)) }

  /// The position after another.
  @inlinable public func index(after index: Int) -> Int { index &+ 1 }

  /// The position before another.
  @inlinable public func index(before index: Int) -> Int { index &- 1 }

  /// Goes through the elements from the first to the last.
  ///
  /// The list must not gain, lose or move elements meanwhile: the next step would stop the program.
  @frozen public struct Iterator: IteratorProtocol {
    @usableFromInline let list: HeapList
    @usableFromInline let count: Int
    @usableFromInline let changes: Int
    @usableFromInline var index = 0

    @inlinable init(_ list: HeapList) {
      self.list = list
      count = list.count
      changes = list.changes
    }

    /// The next element, or nil after the last.
    ///
    /// - Precondition: the list has not been changed since the iterator was made.
    @inlinable @inline(__always) public mutating func next() -> Element? {
      let storage = list.storage
      guard storage.used == count, list.changes == changes else {
        ContainerFailure.changedInLoop("HeapList")
      }
      guard index < count else { return nil }
      defer { index &+= 1 }
      return storage.slot(index).load()
    }

    @inlinable func requireUnchanged() {
      guard list.count == count, list.changes == changes else {
        ContainerFailure.changedInLoop("HeapList")
      }
    }
  }

  /// An iterator over the elements.
  @inlinable @inline(__always) public func makeIterator() -> Iterator { Iterator(self) }

  /// Calls `body` with the elements' memory, for reading.
  ///
  /// The memory is valid for the time of the call. If the list is changed meanwhile, it may be that of
  /// former elements.
  @inlinable public func withContiguousStorageIfAvailable<Result>(
    _ body: (UnsafeBufferPointer<Element>) throws -> Result
  ) rethrows -> Result? {
    let storage = self.storage
    defer { storage.keepAlive() }
    return try unsafe body(
      UnsafeBufferPointer(
        start: storage.address(of: 0).assumingMemoryBound(to: Element.self), count: storage.used))
  }
}
