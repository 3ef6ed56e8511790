// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Many elements at once.
//
// The barrier first, for all of them, then the copy: without a safepoint between, so that a
// handshake falls before or after the whole. Elements with references are copied word by
// word with atomic stores, because the collector reads them at the same time and must not
// see half a reference (memmove promises nothing of the kind); elements without are moved.
//
// Between recording and copying another thread may change the source. What it writes there it
// has shaded itself, so a copied reference is shaded in any case.

internal import CHeapShims
internal import Collector
internal import Synchronization

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
  /// - Precondition: `range` lies within this array, and as many elements are left in
  ///   `destination` from `start` on.
  /// - Complexity: O(length of `range`).
  @inlinable public func copy(
    range: Range<Int>, to destination: HeapArray<Element>, at start: Int = 0
  ) {
    checkRange(range.lowerBound, range.count)
    destination.checkRange(start, range.count)
    let source = unsafe elements + range.lowerBound &* MemoryLayout<Element>.stride
    unsafe destination.replace(start, count: range.count, with: UnsafeRawPointer(source))
    keepAlive()
  }

  /// Copies elements to another place in this array; the two may overlap.
  ///
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

  /// Replaces elements, which exist, by those at `source`, which may overlap them.
  @usableFromInline @inline(never)
  func replace(_ start: Int, count: Int, with source: UnsafeRawPointer) {
    let map = FieldMap.of(Element.self)
    let destination = unsafe elements + start &* map.stride
    let size = count &* map.stride
    if map.isNoscan {
      unsafe destination.copyMemory(from: source, byteCount: size)
      return keepAlive()
    }
    if heap_barrier_is_up() {
      let (to, from) = (UInt(bitPattern: destination), UInt(bitPattern: source))
      let mutator = WriteBarrier.mutator(for: to)
      if mutator.isChecked {
        for step in stride(from: 0, to: UInt(size), by: map.stride) {
          mutator.checkStore(of: Element.self, at: to + step, from: from + step)
        }
      }
      unsafe WriteBarrier.recordAggregate(
        destination: to, source: from, count: count, stride: map.stride,
        references: map.references, ambiguous: map.ambiguous, by: mutator)
    }
    // Pair: the address dependency of whoever loads one of the references.
    atomicMemoryFence(ordering: .releasing)
    // SAFETY: a type that holds a reference has the alignment of a word, and so a stride of
    // whole words.
    let from = unsafe source.assumingMemoryBound(to: Atomic<UInt>.self)
    let to = unsafe destination.assumingMemoryBound(to: Atomic<UInt>.self)
    let isForward = unsafe UnsafeRawPointer(destination) <= source
    for step in 0..<size / 8 {
      let word = isForward ? step : size / 8 - 1 - step
      // Relaxed: ordered by the fence; atomic only so that no reference is seen in halves.
      unsafe to[word].store(from[word].load(ordering: .relaxed), ordering: .relaxed)
    }
    keepAlive()
  }
}
