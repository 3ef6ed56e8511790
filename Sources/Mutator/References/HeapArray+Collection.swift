// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The array as a collection of the standard library.
//
// Indices are 0 ..< count. The iterator asks the array for its count at each step instead of
// keeping it: see HeapArray.swift on keeping the array alive.

internal import CHeapShims
internal import Heap

extension HeapArray: RandomAccessCollection {
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
  @frozen public struct Iterator: IteratorProtocol {
    @usableFromInline let array: HeapArray
    @usableFromInline var index = 0

    @inlinable init(_ array: HeapArray) { self.array = array }

    /// The next element, or nil after the last.
    @inlinable public mutating func next() -> Element? {
      guard index < array.count else { return nil }
      defer { index &+= 1 }
      return unsafe HeapSlot<Element>(array.elements + index &* MemoryLayout<Element>.stride)
        .load()
    }
  }

  /// An iterator over the elements.
  @inlinable public func makeIterator() -> Iterator { Iterator(self) }

  /// Calls `body` with the elements' memory, for reading.
  ///
  /// The memory is valid for the time of the call.
  @inlinable public func withContiguousStorageIfAvailable<Result>(
    _ body: (UnsafeBufferPointer<Element>) throws -> Result
  ) rethrows -> Result? {
    defer { keepAlive() }
    return try unsafe body(
      UnsafeBufferPointer(start: elements.assumingMemoryBound(to: Element.self), count: count))
  }
}

extension HeapArray where Element: BitwiseCopyable {
  /// Calls `body` with the elements' memory, for reading and writing.
  ///
  /// The memory is valid for the time of the call. For elements without references only:
  /// writing there passes the write barrier by.
  ///
  /// - Precondition: `Element` holds no reference.
  @inlinable public func withUnsafeElements<Result, Failure: Error>(
    _ body: (UnsafeMutableBufferPointer<Element>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    if !HeapSlot<Element>.isPlain { checkPlain() }
    defer { keepAlive() }
    return try unsafe body(
      UnsafeMutableBufferPointer(
        start: elements.assumingMemoryBound(to: Element.self), count: count))
  }

  @usableFromInline @inline(never)
  func checkPlain() {
    guard FieldMap.of(Element.self).isNoscan else {
      broken(
        "\(Element.self) can hold a reference: withUnsafeElements would pass the write barrier "
          + "by; use the subscript or update(from:)")
    }
  }
}

extension HeapArray {
  /// Makes the array's address be needed here, so that the collector finds it until now.
  @usableFromInline @inline(never)
  func keepAlive() {
    // An atomic load is not removed for being unused.
    _ = heap_load_word(UInt(bitPattern: unsafe _raw))
  }
}
