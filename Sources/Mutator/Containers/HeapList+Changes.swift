// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Adding and removing elements elsewhere than at the end, and room.
//
// Elements move within the storage as they do in an array (ElementMove), with a safepoint after each
// quarter of a mebibyte. What is removed is made zero, so that it keeps nothing alive. A list keeps its
// storage when it becomes empty: it will probably be filled again, and nothing can be allocated
// without a mutator.

extension HeapList {
  // MARK: - Removal

  /// Removes the last element.
  ///
  /// - Returns: the element.
  /// - Precondition: the list is not empty.
  /// - Complexity: O(1).
  @discardableResult @inlinable @inline(__always)
  public func removeLast() -> Element {
    let storage = self.storage
    let used = storage.used
    guard used > 0 else { ContainerFailure.empty() }
    return removeLast(storage, used)
  }

  /// Removes the last element, if there is one.
  ///
  /// - Returns: the element, or nil if the list was empty.
  /// - Complexity: O(1).
  @inlinable @inline(__always)
  public func popLast() -> Element? {
    let storage = self.storage
    let used = storage.used
    return used > 0 ? removeLast(storage, used) : nil
  }

  @inlinable @inline(__always)
  func removeLast(_ storage: ElementStorage<Element>, _ used: Int) -> Element {
    let slot = storage.slot(used &- 1)
    let element = slot.load()
    changes &+= 1
    storage.used = used &- 1
    slot.clear()
    return element
  }

  /// Removes an element; those behind it move up.
  ///
  /// - Parameter index: the place of the element.
  /// - Returns: the element.
  /// - Precondition: `0 <= index && index < count`.
  /// - Complexity: O(elements behind it). A long list is a safepoint.
  @discardableResult @inlinable
  public func remove(at index: Int) -> Element {
    let element = self[index]
    close(index..<index &+ 1)
    return element
  }

  /// Removes elements; those behind them move up.
  ///
  /// - Parameter range: the places of the elements.
  /// - Precondition: `range` lies within the list.
  /// - Complexity: O(elements removed and behind them). A long list is a safepoint.
  @inlinable public func removeSubrange(_ range: some RangeExpression<Int>) {
    let range = range.relative(to: self)
    guard range.lowerBound >= 0, range.upperBound <= count else {
      HeapArrayFormat.rangeOutOfRange(range.lowerBound, range.count, count: count)
    }
    if !range.isEmpty { close(range) }
  }

  /// Removes all elements. The list keeps its capacity.
  ///
  /// - Complexity: O(`count`).
  @inlinable public func removeAll() {
    if !isEmpty { close(0..<count) }
  }

  /// Removes the elements for which a condition holds. The others keep their order.
  ///
  /// If the condition throws, what it has named is removed, and the rest stays.
  ///
  /// - Parameter shouldBeRemoved: the condition, which must not change the list.
  /// - Complexity: O(`count`).
  @inlinable
  public func removeAll<Failure: Error>(
    where shouldBeRemoved: (Element) throws(Failure) -> Bool
  ) throws(Failure) {
    var iterator = makeIterator()
    var (kept, seen) = (0, 0)
    // Also if the condition throws: what has not been looked at stays.
    defer { if kept < seen { close(kept..<seen) } }
    while let element = iterator.next() {
      if try !shouldBeRemoved(element) {
        iterator.requireUnchanged()
        if kept < seen { self[kept] = element }
        kept &+= 1
      }
      seen &+= 1
    }
  }

  /// Moves the elements behind a range to its beginning.
  @inlinable @inline(never)
  func close(_ range: Range<Int>) {
    let storage = self.storage
    let used = storage.used
    // Another thread may have removed some.
    guard range.upperBound <= used else { ContainerFailure.damaged("HeapList") }
    changes &+= 1
    let stride = MemoryLayout<Element>.stride
    unsafe ElementMove.move(
      Element.self, from: UnsafeRawPointer(storage.address(of: range.upperBound)),
      to: storage.address(of: range.lowerBound), stride: stride, count: used &- range.upperBound)
    let left = used &- range.count
    storage.used = left
    unsafe ElementMove.clearInPieces(
      Element.self, at: storage.address(of: left), stride: stride, count: range.count)
    storage.keepAlive()
  }

  // MARK: - Insertion

  /// Adds an element at a place; those from there on move back.
  ///
  /// - Parameters:
  ///   - element: the new element.
  ///   - index: its place; `count` means the end.
  ///   - mutator: the calling thread's mutator.
  /// - Precondition: `0 <= index && index <= count`.
  /// - Complexity: O(elements behind it). A safepoint.
  @inlinable
  public func insert(_ element: Element, at index: Int, in mutator: HeapMutator) {
    HeapMutator.unwrap { () throws(HeapError) in
      try tryInsert(element, at: index, in: mutator)
    }
  }

  /// Adds an element at a place, or throws when there is no memory for it; then the list is as it was.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  /// - Precondition: `0 <= index && index <= count`.
  @inlinable @inline(never)
  public func tryInsert(
    _ element: Element, at index: Int, in mutator: HeapMutator
  ) throws(HeapError) {
    var storage = self.storage
    var used = storage.used
    guard UInt(bitPattern: index) <= UInt(bitPattern: used) else {
      ContainerFailure.indexOutOfRange(index, count: used)
    }
    if used >= storage.capacity {
      storage = try tryGrow(toHold: used &+ 1, mutator)
      used = storage.used
      guard index <= used, used < storage.capacity else {
        ContainerFailure.damaged("HeapList")
      }
    }
    changes &+= 1
    unsafe ElementMove.move(
      Element.self, from: UnsafeRawPointer(storage.address(of: index)),
      to: storage.address(of: index &+ 1), stride: MemoryLayout<Element>.stride,
      count: used &- index)
    storage.slot(index).store(element)
    storage.used = used &+ 1
  }

  // MARK: - Several elements

  /// Adds the elements of another list, which may be this one, at the end.
  ///
  /// - Complexity: O(`list.count`) on average over many calls. A safepoint.
  @inlinable
  public func append(contentsOf list: HeapList<Element>, in mutator: HeapMutator) {
    let count = list.count
    reserveCapacity(self.count &+ count, in: mutator)
    for index in 0..<count { append(list[index], in: mutator) }
  }

  /// Adds the elements of an array at the end.
  ///
  /// - Complexity: O(`array.count`) on average over many calls. A safepoint.
  @inlinable
  public func append(contentsOf array: HeapArray<Element>, in mutator: HeapMutator) {
    reserveCapacity(count &+ array.count, in: mutator)
    for index in array.indices { append(array[index], in: mutator) }
  }

  /// Adds the elements of a collection outside the heap at the end.
  ///
  /// For elements without references only: references in a Swift collection are where the collector
  /// does not look, and this call may collect before it has read them. Append references one by one,
  /// or keep them in a ``HeapArray`` or in another list.
  ///
  /// - Precondition: `Element` holds no reference.
  /// - Complexity: O(`elements.count`) on average over many calls. A safepoint.
  @inlinable
  public func append(contentsOf elements: some Collection<Element>, in mutator: HeapMutator) {
    if !HeapSlot<Element>.isPlain { ElementMove.requireNoscan(Element.self) }
    reserveCapacity(count &+ elements.count, in: mutator)
    for element in elements { append(element, in: mutator) }
  }

  // MARK: - Room

  /// Makes room for elements, so that the list need not grow until it has that many.
  ///
  /// - Parameters:
  ///   - minimum: how many elements, with those that are there.
  ///   - mutator: the calling thread's mutator.
  /// - Complexity: O(`count`) if the list has less room. Then it is a safepoint.
  @inlinable public func reserveCapacity(_ minimum: Int, in mutator: HeapMutator) {
    HeapMutator.unwrap { () throws(HeapError) in
      try tryReserveCapacity(minimum, in: mutator)
    }
  }

  /// Makes room for elements, or throws when there is no memory for it.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable public func tryReserveCapacity(
    _ minimum: Int, in mutator: HeapMutator
  ) throws(HeapError) {
    if minimum > storage.capacity { _ = try tryGrow(toHold: minimum, mutator) }
  }

  /// Exchanges two elements.
  ///
  /// - Precondition: both are indices of elements.
  /// - Complexity: O(1).
  @inlinable public func swapAt(_ first: Int, _ second: Int) {
    let (a, b) = (self[first], self[second])
    self[first] = b
    self[second] = a
  }
}

extension HeapList where Element == HeapString {
  /// A new string with the texts of all elements, and a separator between each two.
  ///
  /// - Parameters:
  ///   - separator: what stands between two elements.
  ///   - mutator: the calling thread's mutator.
  /// - Complexity: O(length of the result).
  @inlinable public func joined(separator: String = "", in mutator: HeapMutator) -> HeapString {
    HeapMutator.unwrap { () throws(HeapError) in
      try tryJoined(separator: separator, in: mutator)
    }
  }

  /// A new string with the texts of all elements, or throws when there is no memory for it.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable public func tryJoined(
    separator: String = "", in mutator: HeapMutator
  ) throws(HeapError) -> HeapString {
    try unsafe HeapString.withUTF8(of: separator) { separator in
      Result { () throws(HeapError) in try unsafe mutator.join(self, separator) }
    }.get()
  }
}
