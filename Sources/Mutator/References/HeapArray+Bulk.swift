// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Many elements at once.
//
// How values are copied beside a collector that reads them: ElementMove.swift.
//
// A long copy from array to array goes piece by piece, with a safepoint after each, so that it
// delays no handshake. An update from a collection does not: its elements may be in memory where
// the collector does not look, and a collection in the middle would free what only they lead to.

extension HeapArray {
  /// Replaces elements by those of a collection, from the element at `start` on.
  ///
  /// A collection that has more or fewer elements than its `count` says stops the program.
  ///
  /// - Parameters:
  ///   - source: the new elements, in order.
  ///   - start: where the first of them goes.
  /// - Precondition: the elements of `source` fit between `start` and the end.
  /// - Complexity: O(`source.count`).
  @inlinable public func update(from source: some Collection<Element>, at start: Int = 0) {
    let promised = source.count
    checkRange(start, promised)
    let done: Void? = source.withContiguousStorageIfAvailable { buffer in
      HeapArrayFormat.requireCount(buffer.count, promised)
      guard let first = buffer.baseAddress else { return }
      unsafe replace(start, count: promised, with: UnsafeRawPointer(first))
    }
    if done != nil { return }
    var found = 0
    for element in source {
      // Before the store: what is behind the promised elements is none of the collection's.
      guard found < promised else { HeapArrayFormat.tooManyElements(promised) }
      self[start &+ found] = element
      found &+= 1
    }
    HeapArrayFormat.requireCount(found, promised)
  }

  /// Replaces every element by one value.
  ///
  /// - Complexity: O(`count`).
  @inlinable public func update(repeating value: Element) {
    if HeapSlot<Element>.isPlain {
      unsafe elements.assumingMemoryBound(to: Element.self).update(repeating: value, count: count)
    } else {
      for index in 0..<count { self[index] = value }
    }
  }

  /// Copies elements to another array, to the element at `start` and those after it.
  ///
  /// A long copy is a safepoint: a collection may take place in the middle.
  ///
  /// - Parameters:
  ///   - range: the positions of the elements in this array.
  ///   - destination: the array that gets them; it may be this one.
  ///   - start: where the first of them goes.
  /// - Precondition: `range` lies within this array, and as many elements are left in
  ///   `destination` from `start` on.
  /// - Complexity: O(length of `range`).
  @inlinable public func copy(
    range: Range<Int>, to destination: HeapArray<Element>, at start: Int = 0
  ) {
    checkRange(range.lowerBound, range.count)
    destination.checkRange(start, range.count)
    copy(range.lowerBound, range.count, to: destination, start)
  }

  /// Copies elements to another place in this array; the two may overlap.
  ///
  /// A long copy is a safepoint: a collection may take place in the middle.
  ///
  /// - Parameters:
  ///   - range: the positions of the elements.
  ///   - start: the position in this same array where the first of them goes.
  /// - Precondition: `range`, and as many elements from `start` on, lie within the array.
  /// - Complexity: O(length of `range`).
  @inlinable public func copy(range: Range<Int>, to start: Int) {
    copy(range: range, to: self, at: start)
  }

  // MARK: - Slow path

  @inlinable func checkRange(_ start: Int, _ length: Int) {
    let count = self.count
    guard start >= 0, length <= count, start <= count &- length else {
      HeapArrayFormat.rangeOutOfRange(start, length, count: count)
    }
  }

  /// Copies elements, which exist on both sides.
  @usableFromInline @inline(never)
  func copy(_ first: Int, _ count: Int, to destination: HeapArray, _ start: Int) {
    let stride = MemoryLayout<Element>.stride
    unsafe ElementMove.move(
      Element.self, from: UnsafeRawPointer(elements + first * stride),
      to: destination.elements + start * stride, stride: stride, count: count)
    keepAlive()
    destination.keepAlive()
  }

  /// Replaces elements, which exist, by those at `source`, which may overlap them.
  @usableFromInline @inline(never)
  func replace(_ start: Int, count: Int, with source: UnsafeRawPointer) {
    unsafe ElementMove.replace(
      Element.self, at: elements + start &* MemoryLayout<Element>.stride, with: source,
      count: count)
    keepAlive()
  }
}
