// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The slow half of allocation, as far as it knows types.
//
// What the inlined half could not do itself arrives here with a metatype: the thread has not
// met the type yet, its run is used up, or the object is tiny or large. The thread's cache
// answers all but the first; the heap's type table that.
//
// Everything here is a safepoint, up to the moment when a slot is taken: nothing between that
// and the caller's initialisation is.

package import Collector
internal import Heap

extension AttachedMutator {
  // MARK: - Objects

  /// The address of a slot for an object of a type.
  package func allocateObject(_ type: any HeapObject.Type) throws(HeapError) -> UInt {
    let key = CacheKey.object(type)
    var found = unsafe state.pointee.cache.find(key)
    if unsafe found == nil { unsafe found = try addEntry(for: type, key: key) }
    let entry = unsafe found.unsafelyUnwrapped
    let shelf = unsafe entry.pointee.shelf
    let layout = shelf.layout
    if layout.isTiny {
      return try takeTiny(size: Int(layout.size), alignment: Int(layout.alignment))
    }
    if shelf.spanClass.sizeClass.isLarge { return try takeLarge(shelf, size: Int(layout.size)) }
    return unsafe try takeSlot(key: key, entry)
  }

  private func addEntry(
    for type: any HeapObject.Type, key: UInt
  ) throws(HeapError) -> UnsafeMutablePointer<CacheEntry> {
    let shelf = try ManagedHeap.of(self).types.object(type)
    return unsafe state.pointee.cache.add(
      key, shelf: shelf, slotSize: shelf.spanClass.sizeClass.slotSize)
  }

  /// A slot of a run; a new run if the one there is used up.
  private func takeSlot(
    key: UInt, _ entry: UnsafeMutablePointer<CacheEntry>
  ) throws(HeapError) -> UInt {
    if unsafe entry.pointee.cursor >= entry.pointee.limit {
      let size = unsafe Int(entry.pointee.slotSize)
      guard heap.refill(self, key: key) else { throw outOfMemory(size) }
    }
    let slot = unsafe entry.pointee.cursor
    unsafe entry.pointee.cursor = slot + entry.pointee.slotSize
    return slot
  }

  // MARK: - Tiny values

  private func takeTiny(size: Int, alignment: Int) throws(HeapError) -> UInt {
    if let place = heap.takeTiny(self, size: size, alignment: alignment) { return place }
    let key = CacheKey.tinySlots
    var entry = unsafe state.pointee.cache.find(key)
    if unsafe entry == nil { unsafe entry = try addTinyEntry() }
    let slot = unsafe try takeSlot(key: key, entry.unsafelyUnwrapped)
    return heap.openTiny(self, slot: slot, size: size, alignment: alignment)
  }

  private func addTinyEntry() throws(HeapError) -> UnsafeMutablePointer<CacheEntry> {
    let shelf = try ManagedHeap.of(self).types.tinySlots()
    return unsafe state.pointee.cache.add(
      CacheKey.tinySlots, shelf: shelf, slotSize: shelf.spanClass.sizeClass.slotSize)
  }

  // MARK: - Arrays

  /// The address of a slot for an array of `count` elements of a type.
  package func allocateArray(of element: Any.Type, count: Int) throws(HeapError) -> UInt {
    let layout = try ManagedHeap.of(self).types.elements(element)
    guard let size = layout.arraySize(count: count) else { throw outOfMemory(.max) }
    guard let sizeClass = SizeClass.of(size: size, alignment: Int(layout.alignment)) else {
      let shelf = try ManagedHeap.of(self).types.arrays(of: layout, in: .large)
      return try takeLarge(shelf, size: size)
    }
    let key = CacheKey.array(of: element, in: sizeClass)
    if let entry = unsafe state.pointee.cache.find(key) {
      return unsafe try takeSlot(key: key, entry)
    }
    let shelf = try ManagedHeap.of(self).types.arrays(of: layout, in: sizeClass)
    let entry = unsafe state.pointee.cache.add(
      key, shelf: shelf, slotSize: sizeClass.slotSize)
    return unsafe try takeSlot(key: key, entry)
  }

  // MARK: - Large objects

  private func takeLarge(_ shelf: SpanShelf, size: Int) throws(HeapError) -> UInt {
    guard let address = heap.allocateLarge(self, shelf: shelf, size: size) else {
      throw outOfMemory(size)
    }
    return address
  }

  private func outOfMemory(_ size: Int) -> HeapError {
    .outOfMemory(requested: size, limit: heap.options.hardLimit)
  }
}
