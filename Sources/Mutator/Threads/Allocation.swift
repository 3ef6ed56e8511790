// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The slow half of allocation, as far as it knows types.
//
// What the inlined half (HeapMutator.swift) could not do itself arrives here with a metatype: the
// thread has not met the type yet, its run is used up, or the object is tiny or large. The key is
// looked up once, in the thread's cache. A type that is new to the thread gets an entry, from the
// heap's type table. The rest is the collector's: Collector/Allocation/Allocator.swift.
//
// Everything here is a safepoint, up to the moment when a slot is taken: nothing between that
// and the caller's initialisation is.

package import Collector
internal import Heap

extension AttachedMutator {
  /// The entry of a key in the thread's cache; made when the key is new to the thread.
  private func entry(
    _ key: UInt, _ shelf: (TypeTable) throws(HeapError) -> SpanShelf
  ) throws(HeapError) -> UnsafeMutablePointer<CacheEntry> {
    if let entry = unsafe state.pointee.cache.find(key) { return unsafe entry }
    requireRunning()
    let shelf = try shelf(ManagedHeap.of(self).types)
    return unsafe state.pointee.cache.add(
      key, shelf: shelf, slotSize: shelf.spanClass.sizeClass.slotSize)
  }

  // MARK: - Objects

  /// The address of a slot for an object of a type.
  package func allocateObject(_ type: any HeapObject.Type) throws(HeapError) -> UInt {
    let entry = unsafe try entry(CacheKey.object(type)) { types throws(HeapError) in
      try types.object(type)
    }
    let shelf = unsafe entry.pointee.shelf
    let layout = shelf.layout
    if layout.isTiny { return try takeTiny(layout) }
    if shelf.spanClass.sizeClass.isLarge { return try takeLarge(shelf, size: Int(layout.size)) }
    return unsafe try takeSlot(entry)
  }

  private func takeSlot(_ entry: UnsafeMutablePointer<CacheEntry>) throws(HeapError) -> UInt {
    guard let slot = withHeap({ unsafe $0.allocator.takeSlot(self, entry) }) else {
      throw unsafe outOfMemory(Int(entry.pointee.slotSize))
    }
    return slot
  }

  // MARK: - Tiny values

  private func takeTiny(_ layout: HeapLayout) throws(HeapError) -> UInt {
    let (size, alignment) = (Int(layout.size), Int(layout.alignment))
    let open = withHeap { $0.allocator.takeTiny(self, size: size, alignment: alignment) }
    if let open { return open }
    let slots = unsafe try entry(CacheKey.tinySlots) { types throws(HeapError) in
      try types.tinySlots()
    }
    let place = withHeap {
      unsafe $0.allocator.openTiny(self, slots, size: size, alignment: alignment)
    }
    guard let place else { throw outOfMemory(size) }
    return place
  }

  // MARK: - Arrays

  /// The address of a slot for an array of `count` elements of a type, which lie `stride` bytes
  /// apart.
  package func allocateArray(
    of element: Any.Type, count: Int, stride: Int, alignment: Int
  ) throws(HeapError) -> UInt {
    let offset = HeapArrayFormat.elementsOffset(alignment: alignment)
    return try allocateArray(
      of: element, count: count, stride: stride, elementsOffset: offset, alignment: offset)
  }

  /// The same for arrays whose elements begin behind more than the count (ElementStorage).
  func allocateArray(
    of element: Any.Type, count: Int, stride: Int, elementsOffset offset: Int, alignment: Int
  ) throws(HeapError) -> UInt {
    // Before the heap is looked at: a handle may have been kept until the heap has ended.
    requireRunning()
    let size = HeapLayout.arraySize(count: count, stride: stride, elementsOffset: offset)
    guard let size else { throw outOfMemory(.max) }
    guard let sizeClass = SizeClass.of(size: size, alignment: alignment) else {
      let types = ManagedHeap.of(self).types
      return try takeLarge(types.arrays(of: types.elements(element), in: .large), size: size)
    }
    let entry = unsafe try entry(CacheKey.array(of: element, in: sizeClass)) {
      types throws(HeapError) in
      try types.arrays(of: types.elements(element), in: sizeClass)
    }
    return unsafe try takeSlot(entry)
  }

  // MARK: - Buffers

  /// The address of a slot for a buffer of `count` elements.
  package func allocateBuffer(_ shape: HeapBufferShape, count: Int) throws(HeapError) -> UInt {
    // Before the heap is looked at: a handle may have been kept until the heap has ended.
    requireRunning()
    let size = HeapLayout.arraySize(
      count: count, stride: shape.stride, elementsOffset: shape.elementsOffset)
    guard let size else { throw outOfMemory(.max) }
    guard let sizeClass = SizeClass.of(size: size, alignment: shape.alignment) else {
      let types = ManagedHeap.of(self).types
      return try takeLarge(types.buffers(of: types.buffer(shape), in: .large), size: size)
    }
    let entry = unsafe try entry(CacheKey.buffer(shape.buffer, in: sizeClass)) {
      types throws(HeapError) in
      try types.buffers(of: types.buffer(shape), in: sizeClass)
    }
    return unsafe try takeSlot(entry)
  }

  // MARK: - Large objects

  private func takeLarge(_ shelf: SpanShelf, size: Int) throws(HeapError) -> UInt {
    guard let address = heap.allocator.takeLarge(self, shelf: shelf, size: size) else {
      throw outOfMemory(size)
    }
    return address
  }

  private func outOfMemory(_ size: Int) -> HeapError {
    .outOfMemory(requested: size, limit: heap.pageHeap.limit(refusing: size))
  }
}
