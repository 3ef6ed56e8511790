// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Room for elements, of which the first ones are in use: what lists and dictionaries grow in.
//
//   byte 0                 capacity: how many elements there is room for
//   byte 8                 used: how many of them are in use
//   byte elementsOffset    the elements
//
// To the collector it is an array: it reads the capacity, which never changes, as the count, and scans
// all elements. What is not in use is zero. So is what was in use and is not any more: nothing is kept
// alive by a place that nobody can read.
//
// Invariant: used <= capacity. Whoever raises `used` has compared it with the capacity of this same
// object. So the invariant holds even in a program that changes one container on two threads at once:
// such a program may lose elements, or find some that were removed, but it reads and writes no memory
// beyond the elements. That is why `used` is here, and not in the container's own object beside the
// reference to this one: the two could then be of different times.
//
// In a program with such a race, a place below `used` may be zero. The value read there is then zero in
// all bits: a reference of that kind leads to no object, and using it ends the program.
//
// Owner       the program: one thread at a time, as with a field.
// Ordering    a storage is complete before its address is stored into the container (releasing; pair:
//             the address dependency of whoever loads it).

internal import CHeapShims
public import Collector
public import Heap

/// Room for elements in a managed heap.
@safe @frozen @usableFromInline
package struct ElementStorage<Element>: _HeapNonNullReference {
  @usableFromInline package let _raw: UnsafeMutableRawPointer

  @inlinable @inline(__always)
  init(_raw raw: UnsafeMutableRawPointer) { unsafe _raw = raw }

  /// Bytes before the first element.
  @inlinable package static var elementsOffset: Int {
    @inline(__always) get { max(16, MemoryLayout<Element>.alignment) }
  }

  /// How many elements there is room for.
  @inlinable var capacity: Int {
    @inline(__always) get { unsafe _raw.load(as: Int.self) }
  }

  /// How many elements are in use.
  ///
  /// Invariant: at most `capacity`.
  @inlinable var used: Int {
    @inline(__always) get { unsafe _raw.load(fromByteOffset: 8, as: Int.self) }
    @inline(__always) nonmutating set {
      unsafe _raw.storeBytes(of: newValue, toByteOffset: 8, as: Int.self)
    }
  }

  /// The address of an element.
  ///
  /// - Precondition: `index` is below the capacity.
  @inlinable @inline(__always)
  func address(of index: Int) -> UnsafeMutableRawPointer {
    unsafe _raw + (Self.elementsOffset &+ index &* MemoryLayout<Element>.stride)
  }

  /// The place of an element.
  ///
  /// - Precondition: `index` is below the capacity.
  @inlinable @inline(__always)
  func slot(_ index: Int) -> HeapSlot<Element> { unsafe HeapSlot(address(of: index)) }

  /// Makes the storage's address be needed here, so that the collector finds it until now.
  @usableFromInline @inline(never)
  func keepAlive() {
    // An atomic load is not removed for being unused.
    _ = heap_load_word(UInt(bitPattern: unsafe _raw))
  }

  /// The capacity of a storage that has at least this one, and wastes nothing of its slot or its
  /// pages.
  @inlinable static func roomyCapacity(_ minimum: Int) -> Int {
    let (offset, stride) = (elementsOffset, MemoryLayout<Element>.stride)
    let (size, overflow) = stride.multipliedReportingOverflow(by: minimum)
    // So large that it will be refused.
    guard !overflow, size <= 1 << 46 else { return minimum }
    let whole =
      SizeClass.of(size: size &+ offset)?.slotSize
      ?? Int(bitPattern: UInt(bitPattern: size &+ offset).aligned(up: 8192))
    // Slots are aligned to words only: a larger alignment takes another class.
    return MemoryLayout<Element>.alignment > 8 ? minimum : (whole &- offset) / stride
  }
}

// MARK: - Allocation

extension HeapMutator {
  /// A storage with room for `capacity` elements, none of which is in use.
  @inlinable
  func tryAllocateStorage<Element>(
    of element: Element.Type, capacity: Int
  ) throws(HeapError) -> ElementStorage<Element> {
    let offset = ElementStorage<Element>.elementsOffset
    let stride = MemoryLayout<Element>.stride
    let slot: UnsafeMutableRawPointer
    // A negative capacity is larger than any.
    if MemoryLayout<Element>.alignment <= 8,
      UInt(bitPattern: capacity) <= UInt(bitPattern: 4096 / stride),
      let fast = unsafe fastSlot(ElementStorage<Element>.self, size: offset &+ capacity &* stride)
    {
      unsafe slot = fast
    } else {
      unsafe slot = try storageSlotSlow(
        ElementStorage<Element>.self, capacity: capacity, stride: stride, elementsOffset: offset,
        alignment: max(8, MemoryLayout<Element>.alignment))
    }
    // Before the next safepoint: the collector reads the capacity. A slot with references is zeroed
    // until then.
    unsafe slot.storeBytes(of: capacity, as: Int.self)
    let storage = unsafe ElementStorage<Element>(_raw: slot)
    storage.used = 0
    return storage
  }

  /// The slot of an array from the run of its key, or nil when the slow half is to find one.
  ///
  /// - Precondition: `size` is at most that of the largest slot.
  @inlinable @inline(__always)
  func fastSlot(_ type: Any.Type, size: Int) -> UnsafeMutableRawPointer? {
    guard let sizeClass = SizeClass.of(size: size) else { return nil }
    let key = CacheKey.array(of: type, in: sizeClass)
    let state = unsafe attached.state
    let home = ThreadCache.home(of: key, mask: unsafe state.pointee.cache.mask)
    let entry = unsafe state.pointee.cache.entries + Int(bitPattern: home)
    guard
      unsafe entry.pointee.key == key && entry.pointee.cursor < entry.pointee.limit
        || attached.changeRun(entry, key: key)
    else { return nil }
    return unsafe takeSlot(entry)
  }

  @usableFromInline @inline(never)
  func storageSlotSlow(
    _ type: Any.Type, capacity: Int, stride: Int, elementsOffset: Int, alignment: Int
  ) throws(HeapError) -> UnsafeMutableRawPointer {
    require(capacity >= 0, "a container cannot have a capacity of \(capacity): it is negative")
    let address = try attached.allocateArray(
      of: type, count: capacity, stride: stride, elementsOffset: elementsOffset,
      alignment: alignment)
    // SAFETY: a slot, never 0.
    return unsafe UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }

  /// A storage with room for `capacity` elements, with those of another in the same places. The other
  /// keeps them, too.
  @inlinable
  func tryEnlarge<Element>(
    _ old: ElementStorage<Element>, capacity: Int
  ) throws(HeapError) -> ElementStorage<Element> {
    let new = try tryAllocateStorage(of: Element.self, capacity: capacity)
    let used = min(old.used, capacity)
    if used > 0 {
      unsafe ElementMove.fill(
        Element.self, at: new.address(of: 0), from: old.address(of: 0), count: used)
    }
    new.used = used
    old.keepAlive()
    return new
  }
}

/// A storage, seen without its element type.
protocol ElementStorageType {
  static var element: Any.Type { get }
  static var elementsOffset: Int { get }
}

extension ElementStorage: ElementStorageType {
  static var element: Any.Type { Element.self }
}
