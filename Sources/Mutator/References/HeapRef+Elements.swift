// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Elements of an `InlineArray` field, one at a time.
//
// `node.edges[2] = other` is what Swift makes of any computed property: all edges are read, one is
// changed, and all are stored, each with its barrier. `node[\.edges, 2] = other` names the element
// itself. The key path is a literal at the place of use and becomes a constant offset, as with
// fields (HeapRef+Fields); what is left is a check of the index and HeapSlot's load or store.

extension HeapRef {
  /// Reads an element of an `InlineArray` field, without reading the others.
  ///
  /// ```swift
  /// struct Node: HeapObject { var edges = InlineArray<4, HeapRef<Node>?>(repeating: nil) }
  /// let next = node[\.edges, 2]
  /// ```
  ///
  /// - Precondition: `index` is that of an element.
  /// - Complexity: O(1): as much as reading a field, and a check of the index.
  @inlinable
  public subscript<let count: Int, Element>(
    field: KeyPath<Object, InlineArray<count, Element>>, index: Int
  ) -> Element {
    @inline(__always) get { load(field, index) }
  }

  /// Reads or writes an element of an `InlineArray` field, without touching the others.
  ///
  /// ```swift
  /// node[\.edges, 2] = other
  /// ```
  ///
  /// Writing runs the write barrier for the references in the element. Two threads may write
  /// different elements at the same time.
  ///
  /// - Precondition: `index` is that of an element.
  /// - Complexity: O(1): as much as reading or writing a field, and a check of the index. Of a
  ///   computed property, all elements are read, and written.
  @inlinable
  public subscript<let count: Int, Element>(
    field: WritableKeyPath<Object, InlineArray<count, Element>>, index: Int
  ) -> Element {
    @inline(__always) get { load(field, index) }
    @inline(__always) nonmutating set {
      if let offset = MemoryLayout<Object>.offset(of: field) {
        slot(of: Element.self, at: offset, index, below: count).store(newValue)
      } else {
        pointee[keyPath: field][index] = newValue
      }
    }
  }

  @inlinable @inline(__always)
  func load<let count: Int, Element>(
    _ field: KeyPath<Object, InlineArray<count, Element>>, _ index: Int
  ) -> Element {
    guard let offset = MemoryLayout<Object>.offset(of: field) else {
      return pointee[keyPath: field][index]
    }
    return slot(of: Element.self, at: offset, index, below: count).load()
  }

  /// The slot of an element of an inline array that lies `offset` bytes into the object.
  @inlinable @inline(__always)
  func slot<Element>(
    of type: Element.Type, at offset: Int, _ index: Int, below count: Int
  ) -> HeapSlot<Element> {
    // Unsigned: a negative index is too large.
    if UInt(bitPattern: index) >= UInt(bitPattern: count) {
      HeapArrayFormat.indexOutOfRange(index, count: count)
    }
    return unsafe HeapSlot<Element>(_raw + (offset &+ index &* MemoryLayout<Element>.stride))
  }
}
