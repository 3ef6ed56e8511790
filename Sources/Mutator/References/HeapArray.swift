// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// An array in a managed heap.
//
// One word, a reference to an object of a count and elements (HeapArrayFormat). The length is
// fixed. Elements are what fields may be; elements with references are stored through the
// write barrier, elements without by a plain store that a loop can vectorise. It is a
// reference: two copies of a HeapArray are the same array, and setting an element does not
// need a `var`.
//
// Keeping the array alive: the compiler may turn a loop over elements into a walk of a bare
// pointer, and a pointer past the last element keeps nothing alive. So every access reads the
// count from the object, anew after anything that could be a safepoint: that needs the
// object's own address, which is therefore still somewhere where the collector looks. It is
// the bounds check as well, and costs nothing where nothing is called, because then the
// compiler keeps the count in a register.
//
//     HeapArray.swift              the reference, count, element access
//     HeapArray+Collection.swift   iteration, contiguous access
//     HeapArray+Bulk.swift         many elements at once

/// A fixed-length array in a managed heap, passed by reference and compared by identity.
///
/// ``HeapMutator/allocateArray(of:count:repeating:)`` makes one. It is valid where a ``HeapRef`` is,
/// and may be a field. Elements may be whatever fields of a ``HeapObject`` may be, but for what ARC
/// manages. It is a `RandomAccessCollection`, and its elements are written by index, without a `var`:
///
/// ```swift
/// let squares = mutator.allocateArray(of: Int.self, count: 10, repeating: 0)
/// for index in squares.indices { squares[index] = index * index }
/// print(squares.reduce(0, +), squares.last!)
/// ```
///
/// The length is fixed. A ``HeapList`` grows.
@safe @frozen
public struct HeapArray<Element>: _HeapNonNullReference {
  /// The array object's first address.
  @usableFromInline package let _raw: UnsafeMutableRawPointer

  /// A reference to the array object at an address, which the caller has initialised.
  @inlinable @inline(__always)
  package init(_raw raw: UnsafeMutableRawPointer) { unsafe _raw = raw }

  /// The number of elements.
  @inlinable public var count: Int {
    @inline(__always) get { unsafe _raw.load(as: Int.self) }
  }

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
    let count = self.count
    guard UInt(bitPattern: index) < UInt(bitPattern: count) else {
      HeapArrayFormat.indexOutOfRange(index, count: count)
    }
    return unsafe HeapSlot(elements + index &* MemoryLayout<Element>.stride)
  }

  /// The address of the first element.
  @inlinable @inline(__always)
  package var elements: UnsafeMutableRawPointer {
    unsafe _raw + HeapArrayFormat.elementsOffset(alignment: MemoryLayout<Element>.alignment)
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapArray: Sendable {}

extension HeapArray: Hashable {
  /// Whether both are the same array.
  ///
  /// Equal elements do not make two arrays equal; for that, there is `elementsEqual(_:)`.
  @inlinable public static func == (a: HeapArray, b: HeapArray) -> Bool {
    unsafe a._raw == b._raw
  }

  /// Hashes the identity of the array, not its elements.
  @inlinable public func hash(into hasher: inout Hasher) {
    hasher.combine(UInt(bitPattern: unsafe _raw))
  }

  /// The same in one step, for dictionaries and sets.
  @inlinable public func _rawHashValue(seed: Int) -> Int {
    UInt(bitPattern: unsafe _raw)._rawHashValue(seed: seed)
  }
}

extension HeapArray: CustomStringConvertible, CustomDebugStringConvertible {
  /// The elements, as an array of the standard library shows them.
  public var description: String { "\(Array(self))" }

  /// The type, the number of elements and the address.
  public var debugDescription: String {
    "HeapArray<\(Element.self)>(\(count) elements, 0x"
      + String(UInt(bitPattern: unsafe _raw), radix: 16) + ")"
  }
}
