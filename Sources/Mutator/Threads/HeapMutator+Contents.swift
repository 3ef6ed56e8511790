// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Allocating arrays whose elements differ from the start.
//
//     allocateArray(count: 8) { index in … }    each element from a closure, which may allocate
//     allocateArray([a, b, c])                  from an InlineArray, which lies on the stack
//     allocateArray(copying: collection)        from a collection of elements without references
//     allocateArray(copying: heapArray)         from another array in the heap
//
// The difference between them is where the elements are while the array's own memory is allocated,
// which is a safepoint. A closure makes an element when the array exists already. An InlineArray is a
// local. The elements of any other collection lie where the collector does not look: so they may have
// no references, and the call stops the program if their type can.
//
// A closure may allocate, and so the array may be collected around before it is filled. The count is
// written first, and the memory of an array with references is zero: whoever scans it meanwhile finds
// what has been stored and nil. The array may be old or black by the time that an element is stored, so
// elements from a closure are stored as any other, with the barrier. What is copied while no safepoint
// lies between is stored plainly.

public import CHeapShims
internal import Collector
internal import Heap

extension HeapMutator {
  // MARK: - From a closure

  /// Allocates an array of `count` elements that a closure makes, one after the other.
  ///
  /// ```swift
  /// let nodes = mutator.allocateArray(count: 8) { index in mutator.allocate(Node(key: index)) }
  /// ```
  ///
  /// The closure may allocate. If it throws, there is no array, and the error is passed on.
  ///
  /// Without memory, or for an element type that cannot be kept in the heap, the program stops with
  /// a message. A safepoint: collections may take place before and between the elements.
  ///
  /// - Parameters:
  ///   - count: how many elements there are.
  ///   - element: makes the element at an index.
  /// - Returns: a reference to the array.
  /// - Precondition: `count` is not negative.
  /// - Complexity: O(`count`).
  @inlinable
  public func allocateArray<Element, Failure: Error>(
    count: Int, _ element: (_ index: Int) throws(Failure) -> Element
  ) throws(Failure) -> HeapArray<Element> {
    let slot = unsafe arraySlot(Element.self, count: count)
    return unsafe try fill(slot, count, element)
  }

  /// Allocates an array of elements that a closure makes, or throws when there is no memory for it
  /// after a full collection, or when its elements cannot be kept in the heap.
  ///
  /// ```swift
  /// let nodes = try mutator.tryAllocateArray(count: 8) { index throws(HeapError) in
  ///   try mutator.tryAllocate(Node(key: index))
  /// }
  /// ```
  ///
  /// - Parameters:
  ///   - count: how many elements there are.
  ///   - element: makes the element at an index. What it throws is passed on.
  /// - Returns: a reference to the array.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``, ``HeapError/unsupportedType(_:)``, or what
  ///   the closure throws.
  /// - Precondition: `count` is not negative.
  @inlinable
  public func tryAllocateArray<Element>(
    count: Int, _ element: (_ index: Int) throws(HeapError) -> Element
  ) throws(HeapError) -> HeapArray<Element> {
    let slot = unsafe try tryArraySlot(Element.self, count: count)
    return unsafe try fill(slot, count, element)
  }

  /// Elements made between two safepoints.
  @inlinable static var elementsBetweenSafepoints: Int { 4096 }

  @inlinable @inline(__always)
  func fill<Element, Failure: Error>(
    _ slot: UnsafeMutableRawPointer, _ count: Int, _ element: (Int) throws(Failure) -> Element
  ) throws(Failure) -> HeapArray<Element> {
    unsafe slot.storeBytes(of: count, as: Int.self)
    let array = unsafe HeapArray<Element>(_raw: slot)
    var index = 0
    while index < count {
      let end = min(count, index &+ Self.elementsBetweenSafepoints)
      while index < end {
        array[index] = try element(index)
        index &+= 1
      }
      if index < count { safepoint() }
    }
    return array
  }

  // MARK: - From an InlineArray

  /// Allocates an array with the elements of an `InlineArray`.
  ///
  /// ```swift
  /// let nodes = mutator.allocateArray([first, second, third])
  /// ```
  ///
  /// The literal is an `InlineArray`, which lies on the stack: so its elements may be references.
  ///
  /// - Parameter elements: what the array holds at first.
  /// - Returns: a reference to the array.
  /// - Complexity: O(`count`).
  @inlinable
  public func allocateArray<let count: Int, Element>(
    _ elements: InlineArray<count, Element>
  ) -> HeapArray<Element> {
    if heap_barrier_is_up(), !HeapSlot<Element>.isPlain { checkSlow(elements: elements) }
    let slot = unsafe arraySlot(Element.self, count: count)
    return unsafe fill(slot, elements)
  }

  /// Allocates an array with the elements of an `InlineArray`, or throws when there is no memory for it
  /// after a full collection, or when its elements cannot be kept in the heap.
  ///
  /// - Parameter elements: what the array holds at first.
  /// - Returns: a reference to the array.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)`` or ``HeapError/unsupportedType(_:)``.
  @inlinable
  public func tryAllocateArray<let count: Int, Element>(
    _ elements: InlineArray<count, Element>
  ) throws(HeapError) -> HeapArray<Element> {
    if heap_barrier_is_up(), !HeapSlot<Element>.isPlain { checkSlow(elements: elements) }
    let slot = unsafe try tryArraySlot(Element.self, count: count)
    return unsafe fill(slot, elements)
  }

  @inlinable @inline(__always)
  func fill<let count: Int, Element>(
    _ slot: UnsafeMutableRawPointer, _ elements: InlineArray<count, Element>
  ) -> HeapArray<Element> {
    unsafe slot.storeBytes(of: count, as: Int.self)
    let array = unsafe HeapArray<Element>(_raw: slot)
    for index in 0..<count {
      unsafe (array.elements + index &* MemoryLayout<Element>.stride)
        .initializeMemory(as: Element.self, to: elements[index])
    }
    return array
  }

  /// In checked mode, stops the program if a value must not be an element's first value.
  @inlinable @inline(never)
  func checkSlow<let count: Int, Element>(elements: InlineArray<count, Element>) {
    for index in 0..<count { checkSlow(element: elements[index]) }
  }

  // MARK: - From a collection

  /// Allocates an array with the elements of a collection.
  ///
  /// ```swift
  /// let squares = mutator.allocateArray(copying: (0..<10).lazy.map { $0 * $0 })
  /// ```
  ///
  /// The elements may have no references: the collector does not look into a collection of the standard
  /// library. Give references by a closure, ``allocateArray(count:_:)``, or in an `InlineArray`. A
  /// collection that has more or fewer elements than its `count` says stops the program.
  ///
  /// - Parameter elements: what the array holds at first.
  /// - Returns: a reference to the array.
  /// - Precondition: the elements have no references.
  /// - Complexity: O(`count`).
  @inlinable
  public func allocateArray<Source: Collection>(
    copying elements: Source
  ) -> HeapArray<Source.Element> {
    if !HeapSlot<Source.Element>.isPlain { checkNoReferences(Source.Element.self) }
    let count = elements.count
    return unsafe copy(elements, count, to: arraySlot(Source.Element.self, count: count))
  }

  /// Allocates an array with the elements of a collection, or throws when there is no memory for it
  /// after a full collection, or when the elements have references or cannot be kept in the heap.
  ///
  /// - Parameter elements: what the array holds at first.
  /// - Returns: a reference to the array.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)`` or ``HeapError/unsupportedType(_:)``.
  @inlinable
  public func tryAllocateArray<Source: Collection>(
    copying elements: Source
  ) throws(HeapError) -> HeapArray<Source.Element> {
    if !HeapSlot<Source.Element>.isPlain { try tryCheckNoReferences(Source.Element.self) }
    let count = elements.count
    return unsafe copy(elements, count, to: try tryArraySlot(Source.Element.self, count: count))
  }

  /// Fills the slot of an array of elements without references.
  ///
  /// The collection is foreign code: it may allocate, which does no harm, because such arrays are not
  /// scanned; and it may misstate its count.
  @inlinable
  func copy<Source: Collection>(
    _ source: Source, _ count: Int, to slot: UnsafeMutableRawPointer
  ) -> HeapArray<Source.Element> {
    unsafe slot.storeBytes(of: count, as: Int.self)
    let array = unsafe HeapArray<Source.Element>(_raw: slot)
    let target = unsafe array.elements.assumingMemoryBound(to: Source.Element.self)
    let copied: Void? = source.withContiguousStorageIfAvailable { source in
      HeapArrayFormat.requireCount(source.count, count)
      guard let first = source.baseAddress else { return }
      unsafe target.initialize(from: first, count: count)
    }
    if copied == nil {
      var found = 0
      for element in source {
        guard found < count else { HeapArrayFormat.tooManyElements(count) }
        unsafe (target + found).initialize(to: element)
        found += 1
      }
      HeapArrayFormat.requireCount(found, count)
    }
    return array
  }

  @usableFromInline @inline(never)
  func checkNoReferences(_ element: Any.Type) {
    do throws(HeapError) {
      try tryCheckNoReferences(element)
    } catch {
      broken(error.description)
    }
  }

  @usableFromInline @inline(never)
  func tryCheckNoReferences(_ element: Any.Type) throws(HeapError) {
    guard try !FieldMap.find(element).isNoscan else { return }
    throw .unsupportedType(
      "a collection of \(element) cannot be copied into the heap: \(element) can hold a reference, and "
        + "the collector does not look into a collection; give the elements by a closure, "
        + "allocateArray(count:) { index in … }, or in an InlineArray, allocateArray([a, b, c])")
  }

  // MARK: - From an array in the heap

  /// Allocates an array with the elements of another array in the heap, which may be references.
  ///
  /// - Parameter elements: what the array holds at first.
  /// - Returns: a reference to the new array.
  /// - Complexity: O(`count`).
  @inlinable
  public func allocateArray<Element>(copying elements: HeapArray<Element>) -> HeapArray<Element> {
    let count = elements.count
    let slot = unsafe arraySlot(Element.self, count: count)
    return unsafe copy(elements, count, to: slot)
  }

  /// Allocates an array with the elements of another array in the heap, or throws when there is no
  /// memory for it after a full collection.
  ///
  /// - Parameter elements: what the array holds at first.
  /// - Returns: a reference to the new array.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable
  public func tryAllocateArray<Element>(
    copying elements: HeapArray<Element>
  ) throws(HeapError) -> HeapArray<Element> {
    let count = elements.count
    let slot = unsafe try tryArraySlot(Element.self, count: count)
    return unsafe copy(elements, count, to: slot)
  }

  @inlinable
  func copy<Element>(
    _ elements: HeapArray<Element>, _ count: Int, to slot: UnsafeMutableRawPointer
  ) -> HeapArray<Element> {
    unsafe slot.storeBytes(of: count, as: Int.self)
    let array = unsafe HeapArray<Element>(_raw: slot)
    // A long copy has safepoints: what is not copied yet is zero.
    elements.copy(range: 0..<count, to: array)
    return array
  }
}
