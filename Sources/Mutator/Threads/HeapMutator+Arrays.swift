// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Allocating arrays and bytes. Strings: HeapMutator+Strings.swift. Arrays with contents:
// HeapMutator+Contents.swift. Buffers: HeapMutator+Buffers.swift.
//
// An array's slot comes from the run of its element type and size class. It is found as an object's
// is, inlined into the caller, with the class of the size in the key:
//
//     size, class (one load) · hash the key · compare it · compare cursor with limit · advance
//
// Arrays over 32 KiB, and those of elements that are aligned to more than a word, take the slow
// half. The slot of an array with references is zero until it is filled,
// so a collector that scans it meanwhile finds nil where nothing has been stored yet. Only the
// filling of large arrays contains safepoints.

public import CHeapShims
public import Collector
public import Heap

extension HeapMutator {
  // MARK: - Arrays

  /// Allocates an array of `count` elements, all equal to `value`.
  ///
  /// Without memory, or for an element type that cannot be kept in the heap, the program stops with
  /// a message. A safepoint: a collection may take place before the array exists.
  ///
  /// ```swift
  /// let children = mutator.allocateArray(of: HeapRef<Node>?.self, count: 4, repeating: nil)
  /// children[0] = mutator.allocate(Node(key: 1))
  /// ```
  ///
  /// - Parameters:
  ///   - type: the type of the elements, which may be whatever fields of a ``HeapObject`` may be, but
  ///     for what ARC manages.
  ///   - count: how many there are.
  ///   - value: what every element is at first.
  /// - Returns: a reference to the array.
  /// - Precondition: `count` is not negative.
  /// - Complexity: O(`count`).
  @inlinable
  public func allocateArray<Element>(
    of type: Element.Type, count: Int, repeating value: Element
  ) -> HeapArray<Element> {
    if heap_barrier_is_up(), !HeapSlot<Element>.isPlain, count > 0 { checkSlow(element: value) }
    let slot = unsafe arraySlot(Element.self, count: count)
    return unsafe fill(slot, count, value)
  }

  /// Allocates an array, or throws when there is no memory for it after a full collection, or
  /// when its elements cannot be kept in the heap.
  ///
  /// - Parameters:
  ///   - type: the type of the elements.
  ///   - count: how many there are.
  ///   - value: what every element is at first.
  /// - Returns: a reference to the array.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)`` or ``HeapError/unsupportedType(_:)``.
  /// - Precondition: `count` is not negative.
  @inlinable
  public func tryAllocateArray<Element>(
    of type: Element.Type, count: Int, repeating value: Element
  ) throws(HeapError) -> HeapArray<Element> {
    if heap_barrier_is_up(), !HeapSlot<Element>.isPlain, count > 0 { checkSlow(element: value) }
    let slot = unsafe try tryArraySlot(Element.self, count: count)
    return unsafe fill(slot, count, value)
  }

  @inlinable @inline(__always)
  func fill<Element>(
    _ slot: UnsafeMutableRawPointer, _ count: Int, _ value: Element
  ) -> HeapArray<Element> {
    unsafe slot.storeBytes(of: count, as: Int.self)
    let elements =
      unsafe slot
      + HeapArrayFormat.elementsOffset(alignment: MemoryLayout<Element>.alignment)
    unsafe fill(elements: elements, count, value)
    return unsafe HeapArray(_raw: slot)
  }

  @inlinable @inline(__always)
  func fill<Element>(elements: UnsafeMutableRawPointer, _ count: Int, _ value: Element) {
    if count &* MemoryLayout<Element>.stride <= Self.fillPiece {
      unsafe elements.initializeMemory(as: Element.self, repeating: value, count: count)
    } else {
      unsafe fillInPieces(elements, count, value)
    }
  }

  /// Bytes filled between two safepoints.
  @inlinable static var fillPiece: Int { 256 << 10 }

  /// Fills a large array with a safepoint after each piece, so that it delays no handshake.
  ///
  /// The collector may scan the array meanwhile: what is not filled yet is zero. And the value's
  /// references are on this thread's stack until the end, so they are marked when the stack is
  /// scanned: no barrier is needed for storing them.
  @inlinable @inline(never)
  func fillInPieces<Element>(_ elements: UnsafeMutableRawPointer, _ count: Int, _ value: Element) {
    let stride = MemoryLayout<Element>.stride
    let perPiece = max(1, Self.fillPiece / stride)
    var done = 0
    while done < count {
      let length = min(perPiece, count &- done)
      unsafe (elements + done &* stride)
        .initializeMemory(as: Element.self, repeating: value, count: length)
      done &+= length
      safepoint()
    }
  }

  // MARK: - Bytes

  /// Allocates an array with the given bytes.
  ///
  /// A collection that has more or fewer elements than its `count` says stops the program.
  ///
  /// - Parameter bytes: what the array holds at first.
  /// - Returns: a reference to the array.
  @inlinable
  public func allocateBytes(_ bytes: some Collection<UInt8>) -> HeapArray<UInt8> {
    let count = bytes.count
    return unsafe copy(bytes, count, to: arraySlot(UInt8.self, count: count))
  }

  /// Allocates an array with the given bytes, or throws when there is no memory for it.
  ///
  /// - Parameter bytes: what the array holds at first.
  /// - Returns: a reference to the array.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable
  public func tryAllocateBytes(
    _ bytes: some Collection<UInt8>
  ) throws(HeapError) -> HeapArray<UInt8> {
    let count = bytes.count
    return unsafe copy(bytes, count, to: try tryArraySlot(UInt8.self, count: count))
  }

  /// Fills the slot of an array with bytes.
  ///
  /// The collection is foreign code: it may allocate, which does no harm, because arrays of bytes
  /// are not scanned; and it may misstate its count.
  @inlinable
  func copy(
    _ bytes: some Collection<UInt8>, _ count: Int, to slot: UnsafeMutableRawPointer
  ) -> HeapArray<UInt8> {
    unsafe slot.storeBytes(of: count, as: Int.self)
    let start = unsafe slot + HeapArrayFormat.elementsOffset(alignment: 1)
    let target = unsafe UnsafeMutableRawBufferPointer(start: start, count: count)
    let copied: Void? = bytes.withContiguousStorageIfAvailable { source in
      HeapArrayFormat.requireCount(source.count, count)
      unsafe target.copyMemory(from: UnsafeRawBufferPointer(source))
    }
    if copied == nil {
      var found = 0
      for byte in bytes {
        guard found < count else { HeapArrayFormat.tooManyElements(count) }
        unsafe target[found] = byte
        found += 1
      }
      HeapArrayFormat.requireCount(found, count)
    }
    return unsafe HeapArray(_raw: slot)
  }

  // MARK: - Fast path

  /// The slot of an array from the run of its key, or nil when the slow half is to find one.
  @inlinable @inline(__always)
  func fastArraySlot<Element>(_ type: Element.Type, count: Int) -> UnsafeMutableRawPointer? {
    let alignment = MemoryLayout<Element>.alignment
    return unsafe fastSlot(
      offset: HeapArrayFormat.elementsOffset(alignment: alignment),
      stride: MemoryLayout<Element>.stride, alignment: alignment, count: count
    ) { CacheKey.array(of: type, in: $0) }
  }

  /// The slot of a count and elements from `offset` on, from the run of the key for its size class,
  /// or nil when the slow half is to find one.
  @inlinable @inline(__always)
  func fastSlot(
    offset: Int, stride: Int, alignment: Int, count: Int, key: (SizeClass) -> UInt
  ) -> UnsafeMutableRawPointer? {
    let most = (SizeClass.maxSmallSize &- offset) / max(stride, 1)
    // Slots of most classes are aligned to words only. A negative count is larger than any.
    guard offset <= SizeClass.maxSmallSize, alignment <= 8,
      UInt(bitPattern: count) <= UInt(bitPattern: most),
      let sizeClass = SizeClass.of(size: offset &+ count &* stride)
    else { return nil }
    let key = key(sizeClass)
    let state = unsafe attached.state
    let home = ThreadCache.home(of: key, mask: unsafe state.pointee.cache.mask)
    let entry = unsafe state.pointee.cache.entries + Int(bitPattern: home)
    guard
      unsafe entry.pointee.key == key && entry.pointee.cursor < entry.pointee.limit
        || attached.changeRun(entry, key: key)
    else { return nil }
    return unsafe takeSlot(entry)
  }

  @inlinable @inline(__always)
  func arraySlot<Element>(_ type: Element.Type, count: Int) -> UnsafeMutableRawPointer {
    if let slot = unsafe fastArraySlot(type, count: count) { return unsafe slot }
    return unsafe arraySlotSlow(
      type, count: count, stride: MemoryLayout<Element>.stride,
      alignment: MemoryLayout<Element>.alignment)
  }

  @inlinable @inline(__always)
  func tryArraySlot<Element>(
    _ type: Element.Type, count: Int
  ) throws(HeapError) -> UnsafeMutableRawPointer {
    if let slot = unsafe fastArraySlot(type, count: count) { return unsafe slot }
    return unsafe try tryArraySlotSlow(
      type, count: count, stride: MemoryLayout<Element>.stride,
      alignment: MemoryLayout<Element>.alignment)
  }

  // MARK: - Slow path

  /// In checked mode, stops the program if a value must not be an element's first value.
  ///
  /// Called while the barrier flag is up, as it always is in checked mode.
  @inlinable @inline(never)
  func checkSlow<Element>(element: Element) {
    unsafe withUnsafePointer(to: element) {
      unsafe checkSlow(element: Element.self, UnsafeRawPointer($0))
    }
  }

  @usableFromInline @inline(never)
  func checkSlow(element type: Any.Type, _ value: UnsafeRawPointer) {
    attached.requireRunning()
    // A type that cannot be kept in the heap is refused by the allocation itself.
    guard attached.isChecked, (try? FieldMap.find(type)) != nil else { return }
    attached.checkElement(type, at: UInt(bitPattern: value))
  }

  @usableFromInline @inline(never)
  func arraySlotSlow(
    _ element: Any.Type, count: Int, stride: Int, alignment: Int
  ) -> UnsafeMutableRawPointer {
    do throws(HeapError) {
      return unsafe try tryArraySlotSlow(
        element, count: count, stride: stride, alignment: alignment)
    } catch {
      broken(error.description)
    }
  }

  @usableFromInline @inline(never)
  func tryArraySlotSlow(
    _ element: Any.Type, count: Int, stride: Int, alignment: Int
  ) throws(HeapError) -> UnsafeMutableRawPointer {
    require(count >= 0, "an array cannot have \(count) elements: the count is negative")
    let address = try attached.allocateArray(
      of: element, count: count, stride: stride, alignment: alignment)
    // SAFETY: a slot, never 0.
    return unsafe UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }
}
