// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Allocating buffers.
//
// A buffer's slot comes from the run of its type and size class, as an array's does. The cache's key is
// made of the metatype of `HeapBuffer<Header, Element>`: a pair of types fits into no key, and the
// metatype of the pair does. Getting it is a load and a test once the program has met the type.
//
// First the count and the header are written, then the elements. So wherever a collection takes place,
// the collector finds the header, what has been filled, and zeroes.

public import CHeapShims
internal import Collector
public import Heap

extension HeapMutator {
  /// Allocates an object of a header and `count` elements, all equal to `value`.
  ///
  /// Without memory, or for types that cannot be kept in the heap, the program stops with a message. A
  /// safepoint: a collection may take place before the buffer exists.
  ///
  /// ```swift
  /// let frame = mutator.allocateBuffer(Frame(caller: caller), count: 8, repeating: HeapValue.nil)
  /// ```
  ///
  /// - Parameters:
  ///   - header: what the header is at first.
  ///   - count: how many elements there are.
  ///   - value: what every element is at first.
  /// - Returns: a reference to the buffer.
  /// - Precondition: `count` is not negative.
  /// - Complexity: O(`count`).
  @inlinable
  public func allocateBuffer<Header: HeapObject, Element>(
    _ header: Header, count: Int, repeating value: Element
  ) -> HeapBuffer<Header, Element> {
    if heap_barrier_is_up() { checkSlow(header: header, element: value) }
    let slot =
      unsafe fastBufferSlot(Header.self, Element.self, count: count)
      ?? bufferSlotSlow(Header.self, Element.self, count: count)
    return unsafe fill(slot, header, count, value)
  }

  /// Allocates a buffer, or throws when there is no memory for it after a full collection, or when
  /// its types cannot be kept in the heap.
  ///
  /// - Parameters:
  ///   - header: what the header is at first.
  ///   - count: how many elements there are.
  ///   - value: what every element is at first.
  /// - Returns: a reference to the buffer.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)`` or ``HeapError/unsupportedType(_:)``.
  /// - Precondition: `count` is not negative.
  @inlinable
  public func tryAllocateBuffer<Header: HeapObject, Element>(
    _ header: Header, count: Int, repeating value: Element
  ) throws(HeapError) -> HeapBuffer<Header, Element> {
    if heap_barrier_is_up() { checkSlow(header: header, element: value) }
    if let slot = unsafe fastBufferSlot(Header.self, Element.self, count: count) {
      return unsafe fill(slot, header, count, value)
    }
    let slot = unsafe try tryBufferSlotSlow(Header.self, Element.self, count: count)
    return unsafe fill(slot, header, count, value)
  }

  @inlinable @inline(__always)
  func fill<Header: HeapObject, Element>(
    _ slot: UnsafeMutableRawPointer, _ header: Header, _ count: Int, _ value: Element
  ) -> HeapBuffer<Header, Element> {
    typealias Format = HeapBufferFormat<Header, Element>
    unsafe slot.storeBytes(of: count, as: Int.self)
    unsafe (slot + Format.headerOffset).initializeMemory(as: Header.self, to: header)
    unsafe fill(elements: slot + Format.elementsOffset, count, value)
    return unsafe HeapBuffer(_raw: slot)
  }

  // MARK: - Fast path

  /// The slot of a buffer from the run of its key, or nil when the slow half is to find one.
  @inlinable @inline(__always)
  func fastBufferSlot<Header: HeapObject, Element>(
    _ header: Header.Type, _ element: Element.Type, count: Int
  ) -> UnsafeMutableRawPointer? {
    typealias Format = HeapBufferFormat<Header, Element>
    return unsafe fastSlot(
      offset: Format.elementsOffset, stride: MemoryLayout<Element>.stride,
      alignment: Format.alignment, count: count
    ) { CacheKey.buffer(HeapBuffer<Header, Element>.self, in: $0) }
  }

  // MARK: - Slow path

  @inlinable @inline(never)
  func bufferSlotSlow<Header: HeapObject, Element>(
    _ header: Header.Type, _ element: Element.Type, count: Int
  ) -> UnsafeMutableRawPointer {
    unsafe bufferSlot(HeapBufferFormat<Header, Element>.shape, count: count)
  }

  @inlinable @inline(never)
  func tryBufferSlotSlow<Header: HeapObject, Element>(
    _ header: Header.Type, _ element: Element.Type, count: Int
  ) throws(HeapError) -> UnsafeMutableRawPointer {
    unsafe try tryBufferSlot(HeapBufferFormat<Header, Element>.shape, count: count)
  }

  @usableFromInline @inline(never)
  func bufferSlot(_ shape: HeapBufferShape, count: Int) -> UnsafeMutableRawPointer {
    do throws(HeapError) {
      return unsafe try tryBufferSlot(shape, count: count)
    } catch {
      broken(error.description)
    }
  }

  @usableFromInline @inline(never)
  func tryBufferSlot(
    _ shape: HeapBufferShape, count: Int
  ) throws(HeapError) -> UnsafeMutableRawPointer {
    require(count >= 0, "a buffer cannot have \(count) elements: the count is negative")
    let address = try attached.allocateBuffer(shape, count: count)
    // SAFETY: a slot, never 0.
    return unsafe UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }

  /// In checked mode, stops the program if a value must not be a header's or an element's first value.
  ///
  /// Called while the barrier flag is up, as it always is in checked mode.
  @inlinable @inline(never)
  func checkSlow<Header: HeapObject, Element>(header: Header, element: Element) {
    unsafe withUnsafePointer(to: header) { header in
      unsafe withUnsafePointer(to: element) { element in
        unsafe checkSlow(
          HeapBufferFormat<Header, Element>.shape, UnsafeRawPointer(header),
          UnsafeRawPointer(element))
      }
    }
  }

  @usableFromInline @inline(never)
  func checkSlow(
    _ shape: HeapBufferShape, _ header: UnsafeRawPointer, _ element: UnsafeRawPointer
  ) {
    attached.requireRunning()
    // A type that cannot be kept in the heap is refused by the allocation itself.
    guard attached.isChecked, (try? FieldMap.find(shape.header)) != nil,
      (try? FieldMap.find(shape.element)) != nil
    else { return }
    attached.checkFirstValue(
      of: shape.header, at: UInt(bitPattern: header), in: "\(shape.buffer)")
    attached.checkElement(
      shape.element, at: UInt(bitPattern: element), in: "\(shape.buffer)")
  }
}
