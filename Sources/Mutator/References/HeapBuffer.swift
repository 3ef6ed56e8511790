// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A struct and elements in one object.
//
// One word, a reference to an object of a count, a header and elements (HeapBufferFormat). What would
// otherwise be an object and an array that it refers to is one allocation and one object to mark: a
// call frame with its registers, a closure with its captures, a node with as many children as it has.
//
//     frame.pc, frame.caller = other    a field of the header: a HeapRef's load or store
//     frame[2], frame[2] = value        an element: a HeapArray's
//
// The header is accessed as if there were a HeapRef to it: an address inside the object. Such a reference
// exists only for the time of an access. A store through it finds the object all the same, because
// whoever wants to know which object an address belongs to looks at the page.
//
// Keeping the buffer alive: as HeapArray does, every access of an element reads the count.

/// A header and a fixed number of elements in one object, passed by reference and compared by identity.
///
/// ``HeapMutator/allocateBuffer(_:count:repeating:)`` makes one. It is valid where a ``HeapRef`` is,
/// and may be a field. The header's fields are members of the reference, as a ``HeapRef``'s are; the
/// elements are reached by index, as a ``HeapArray``'s are. Both may hold references, but nothing that
/// ARC manages:
///
/// ```swift
/// struct Frame: HeapObject {
///   var caller: HeapBuffer<Frame, HeapValue>?
///   var pc = 0
/// }
///
/// let frame = mutator.allocateBuffer(Frame(caller: caller), count: 8, repeating: HeapValue.nil)
/// frame[0] = HeapValue(immediate: 42)
/// frame.pc += 1
/// ```
///
/// A field of the header whose name is one of the reference's own members (`count`, `header`, `elements`,
/// `description`, `debugDescription`, `hashValue`) is hidden behind it: reach it through ``header``.
@dynamicMemberLookup @safe @frozen
public struct HeapBuffer<Header: HeapObject, Element>: _HeapNonNullReference {
  /// The object's first address.
  @usableFromInline package let _raw: UnsafeMutableRawPointer

  /// A reference to the buffer at an address, which the caller has initialised.
  @inlinable @inline(__always)
  package init(_raw raw: UnsafeMutableRawPointer) { unsafe _raw = raw }

  // MARK: - The header

  /// The header as an object of its own: for one access.
  @inlinable @inline(__always)
  var fields: HeapRef<Header> {
    unsafe HeapRef(_raw: _raw + HeapBufferFormat<Header, Element>.headerOffset)
  }

  /// The header as a struct.
  ///
  /// Reading copies all of it. Writing replaces all of it, with the write barrier for every
  /// reference inside.
  ///
  /// - Complexity: O(size of the header).
  @inlinable public var header: Header {
    @inline(__always) get { fields.pointee }
    @inline(__always) nonmutating set { fields.pointee = newValue }
  }

  /// Reads a field or a computed property of the header.
  @inlinable public subscript<Value>(dynamicMember keyPath: KeyPath<Header, Value>) -> Value {
    @inline(__always) get { fields[dynamicMember: keyPath] }
  }

  /// Reads or writes a field or a computed property of the header.
  ///
  /// Writing runs the write barrier for every reference in the value.
  @inlinable
  public subscript<Value>(dynamicMember keyPath: WritableKeyPath<Header, Value>) -> Value {
    @inline(__always) get { fields[dynamicMember: keyPath] }
    @inline(__always) nonmutating set { fields[dynamicMember: keyPath] = newValue }
  }

  // MARK: - The elements

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
    return unsafe HeapSlot(firstElement + index &* MemoryLayout<Element>.stride)
  }

  /// The address of the first element.
  @inlinable @inline(__always)
  var firstElement: UnsafeMutableRawPointer {
    unsafe _raw + HeapBufferFormat<Header, Element>.elementsOffset
  }

  /// The elements as a collection.
  @inlinable public var elements: Elements { Elements(self) }

  /// The elements of a buffer as a collection.
  ///
  /// They are the buffer's own, and not a copy.
  @frozen public struct Elements: RandomAccessCollection {
    @usableFromInline let buffer: HeapBuffer

    @inlinable init(_ buffer: HeapBuffer) { self.buffer = buffer }

    /// Zero.
    @inlinable public var startIndex: Int { 0 }

    /// The number of elements.
    @inlinable public var endIndex: Int { buffer.count }

    /// The positions of the elements.
    @inlinable public var indices: Range<Int> { unsafe Range(uncheckedBounds: (0, buffer.count)) }

    /// Reads or writes an element.
    ///
    /// - Precondition: `0 <= index && index < count`.
    @inlinable public subscript(index: Int) -> Element {
      @inline(__always) get { buffer[index] }
      @inline(__always) nonmutating set { buffer[index] = newValue }
    }
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapBuffer: Sendable {}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapBuffer.Elements: Sendable {}

extension HeapBuffer: Hashable {
  /// Whether both are the same buffer.
  @inlinable public static func == (a: HeapBuffer, b: HeapBuffer) -> Bool {
    unsafe a._raw == b._raw
  }

  /// Hashes the identity of the buffer.
  @inlinable public func hash(into hasher: inout Hasher) {
    hasher.combine(UInt(bitPattern: unsafe _raw))
  }
}

extension HeapBuffer: CustomStringConvertible, CustomDebugStringConvertible {
  /// The type, the number of elements and the address.
  public var description: String {
    "HeapBuffer<\(Header.self), \(Element.self)>(\(count) elements, 0x"
      + String(UInt(bitPattern: unsafe _raw), radix: 16) + ")"
  }

  /// The same as `description`: objects may be linked in circles, so no fields are shown.
  public var debugDescription: String { description }
}

extension HeapBuffer: _HeapTypedReference {
  /// The key of buffers of these types.
  @inlinable public static var _typeKey: UInt { TypeKey.buffer(HeapBuffer.self) }
}
