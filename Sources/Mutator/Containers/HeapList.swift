// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A list that grows.
//
// One word, a reference to the list's object, which refers to the storage with the elements:
//
//     HeapList ──► ListObject { storage, changes } ──► ElementStorage { capacity, used, elements… }
//
// The list's object stays the same when the list grows, so a list is passed by reference as an array
// is: two copies of a HeapList are the same list. A list that is full gets a storage of twice the
// size. The old one is garbage.
//
// An access loads the storage and how much of it is in use, compares the index with that, and loads or
// stores the element: two loads and a compare more than an element of an array of fixed length.
//
// Whatever gives places another element than before counts in `changes`, and appending shows in
// `used`. An iterator remembers both and compares them at each step, so a list that is changed while a
// loop goes over it is found out. Setting an element is no such change.
//
//     HeapList.swift              the reference, count, element access, append
//     HeapList+Changes.swift      insertion, removal, capacity
//     HeapList+Collection.swift   iteration
//
// Races: see ElementStorage.

public import Heap

/// What a list refers to.
@frozen @usableFromInline package struct ListObject<Element>: HeapObject {
  /// Invariant: byte 0 of the object.
  @usableFromInline var storage: ElementStorage<Element>
  /// Counts what changes places of elements. Invariant: byte 8 of the object.
  @usableFromInline var changes = 0

  @inlinable init(_ storage: ElementStorage<Element>) { self.storage = storage }
}

/// A growable list in a managed heap, passed by reference and compared by identity.
///
/// It is valid where a ``HeapRef`` is, and may be a field, an element, or in a ``HeapRoot``. Elements may
/// be whatever fields of a ``HeapObject`` may be, but for what ARC manages. It is a
/// `RandomAccessCollection`, and its elements are written by index, without a `var`:
///
/// ```swift
/// let nodes = HeapList<HeapRef<Node>>(in: mutator)
/// for key in 0..<10 { nodes.append(mutator.allocate(Node(key: key)), in: mutator) }
/// nodes[3] = nodes[4]
/// let last = nodes.removeLast()
/// for node in nodes { print(node.key) }
/// ```
///
/// A list must not be changed while a loop goes over it: a loop over a list that has gained, lost or
/// moved elements since the loop began stops the program at its next step. Setting an element is
/// allowed, and so is any change while going over the list's indices. A list that is changed by one
/// thread while another uses it, without a lock, may lose elements or stop the program, and damages
/// nothing else.
@safe @frozen
public struct HeapList<Element>: _HeapNonNullReference {
  @usableFromInline package let object: HeapRef<ListObject<Element>>

  @inlinable init(_ object: HeapRef<ListObject<Element>>) { self.object = object }

  /// The list's object's first address.
  @inlinable package var _raw: UnsafeMutableRawPointer { unsafe object._raw }

  // MARK: - Making one

  /// Makes an empty list.
  ///
  /// Without memory, or for elements that cannot be kept in the heap, the program stops with a
  /// message. A safepoint.
  ///
  /// - Parameter mutator: the calling thread's mutator.
  @inlinable public init(in mutator: HeapMutator) { self.init(capacity: 0, in: mutator) }

  /// Makes an empty list that has room for some elements.
  ///
  /// - Parameters:
  ///   - capacity: how many elements can be appended before the list has to grow.
  ///   - mutator: the calling thread's mutator.
  /// - Precondition: `capacity` is not negative.
  @inlinable public init(capacity: Int, in mutator: HeapMutator) {
    self = HeapMutator.unwrap { () throws(HeapError) in
      try HeapList.tryMake(capacity: capacity, in: mutator)
    }
  }

  /// Makes an empty list, or throws when there is no memory for it, or when its elements cannot be
  /// kept in the heap.
  ///
  /// - Parameters:
  ///   - capacity: how many elements can be appended before the list has to grow.
  ///   - mutator: the calling thread's mutator.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)`` or ``HeapError/unsupportedType(_:)``.
  /// - Precondition: `capacity` is not negative.
  @inlinable public static func tryMake(
    capacity: Int = 0, in mutator: HeapMutator
  ) throws(HeapError) -> HeapList {
    let storage = try mutator.tryAllocateStorage(of: Element.self, capacity: capacity)
    return HeapList(try mutator.tryAllocate(ListObject(storage)))
  }

  // MARK: - Elements

  @inlinable var storage: ElementStorage<Element> {
    @inline(__always) get { storageSlot.load() }
  }

  @inlinable var storageSlot: HeapSlot<ElementStorage<Element>> {
    @inline(__always) get { unsafe HeapSlot(object._raw) }
  }

  @inlinable var changes: Int {
    @inline(__always) get { unsafe object._raw.load(fromByteOffset: 8, as: Int.self) }
    @inline(__always) nonmutating set {
      unsafe object._raw.storeBytes(of: newValue, toByteOffset: 8, as: Int.self)
    }
  }

  /// The number of elements.
  @inlinable public var count: Int {
    @inline(__always) get { storage.used }
  }

  /// How many elements the list can hold before it has to grow.
  @inlinable public var capacity: Int { storage.capacity }

  /// Reads or writes an element.
  ///
  /// Writing runs the write barrier for every reference in the element.
  ///
  /// - Precondition: `0 <= index && index < count`.
  /// - Complexity: O(1).
  @inlinable public subscript(index: Int) -> Element {
    @inline(__always) get { slot(at: index).load() }
    @inline(__always) nonmutating set { slot(at: index).store(newValue) }
  }

  /// The place of an element, if there is one.
  @inlinable @inline(__always)
  func slot(at index: Int) -> HeapSlot<Element> {
    let storage = self.storage
    let used = storage.used
    guard UInt(bitPattern: index) < UInt(bitPattern: used) else {
      ContainerFailure.indexOutOfRange(index, count: used)
    }
    return storage.slot(index)
  }

  // MARK: - Appending

  /// Adds an element at the end.
  ///
  /// Without memory the program stops with a message. A safepoint if the list has to grow.
  ///
  /// - Parameters:
  ///   - element: the new last element.
  ///   - mutator: the calling thread's mutator.
  /// - Complexity: O(1) on average over many calls.
  @inlinable @inline(__always)
  public func append(_ element: Element, in mutator: HeapMutator) {
    var storage = self.storage
    var used = storage.used
    // Once, unless another thread fills the new storage, which no program may do.
    while used >= storage.capacity {
      storage = grow(mutator)
      used = storage.used
    }
    storage.slot(used).store(element)
    storage.used = used &+ 1
  }

  /// Adds an element at the end, or throws when there is no memory for it; then the list is as it was.
  ///
  /// - Parameters:
  ///   - element: the new last element.
  ///   - mutator: the calling thread's mutator.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable
  public func tryAppend(_ element: Element, in mutator: HeapMutator) throws(HeapError) {
    var storage = self.storage
    var used = storage.used
    while used >= storage.capacity {
      storage = try tryGrow(toHold: used &+ 1, mutator)
      used = storage.used
    }
    storage.slot(used).store(element)
    storage.used = used &+ 1
  }

  /// A larger storage, for an element that is to be appended.
  @inlinable @inline(never)
  func grow(_ mutator: HeapMutator) -> ElementStorage<Element> {
    do throws(HeapError) {
      return try tryGrow(toHold: storage.used &+ 1, mutator)
    } catch {
      broken(error.description)
    }
  }

  /// Gives the list a storage for at least so many elements, and for twice as many as now.
  @inlinable @inline(never)
  func tryGrow(
    toHold count: Int, _ mutator: HeapMutator
  ) throws(HeapError) -> ElementStorage<Element> {
    let old = storage
    let capacity = ElementStorage<Element>.roomyCapacity(
      Swift.max(count, 2 &* old.capacity, 4))
    let new = try mutator.tryEnlarge(old, capacity: capacity)
    storageSlot.store(new)
    return new
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapList: Sendable {}

extension HeapList: Hashable {
  /// Whether both are the same list.
  ///
  /// Equal elements do not make two lists equal; for that, there is `elementsEqual(_:)`.
  @inlinable public static func == (a: HeapList, b: HeapList) -> Bool { a.object == b.object }

  /// Hashes the identity of the list, not its elements.
  @inlinable public func hash(into hasher: inout Hasher) { hasher.combine(object) }
}

extension HeapList: CustomStringConvertible, CustomDebugStringConvertible {
  /// The elements, as an array of the standard library shows them.
  public var description: String { "\(Array(self))" }

  /// The type, the number of elements and the address.
  public var debugDescription: String {
    "HeapList<\(Element.self)>(\(count) elements, 0x"
      + String(UInt(bitPattern: unsafe _raw), radix: 16) + ")"
  }
}
