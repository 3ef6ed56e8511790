// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// How a buffer lies in memory.
//
//   byte 0                 count, one word
//   byte headerOffset      the header, a struct
//   byte elementsOffset    the elements, each at a multiple of its stride
//
// An array (HeapArrayFormat) with a header between the count and the elements. The count is in the same
// place, so what the collector does with large arrays it does with large buffers. Header and elements
// are each aligned as their types want. All offsets are constants once the types are known.

internal import Heap

/// The format of the buffers of one type.
@usableFromInline package enum HeapBufferFormat<Header: HeapObject, Element> {
  /// Bytes before the header.
  @inlinable @inline(__always)
  package static var headerOffset: Int { max(8, MemoryLayout<Header>.alignment) }

  /// Bytes before the first element.
  @inlinable @inline(__always)
  package static var elementsOffset: Int {
    let end = headerOffset &+ MemoryLayout<Header>.size
    let alignment = MemoryLayout<Element>.alignment
    return (end &+ alignment &- 1) & ~(alignment &- 1)
  }

  /// The alignment of a buffer.
  @inlinable @inline(__always)
  package static var alignment: Int {
    max(8, max(MemoryLayout<Header>.alignment, MemoryLayout<Element>.alignment))
  }

  /// The same for code that does not know the types.
  @inlinable package static var shape: HeapBufferShape {
    HeapBufferShape(
      buffer: HeapBuffer<Header, Element>.self, header: Header.self, element: Element.self,
      headerOffset: headerOffset, elementsOffset: elementsOffset,
      stride: MemoryLayout<Element>.stride, alignment: alignment)
  }
}

/// A type of buffers, as the slow half of allocation sees it.
@frozen @usableFromInline package struct HeapBufferShape {
  @usableFromInline package var buffer: Any.Type
  @usableFromInline package var header: any HeapObject.Type
  @usableFromInline package var element: Any.Type
  @usableFromInline package var headerOffset: Int
  @usableFromInline package var elementsOffset: Int
  @usableFromInline package var stride: Int
  @usableFromInline package var alignment: Int

  @inlinable init(
    buffer: Any.Type, header: any HeapObject.Type, element: Any.Type, headerOffset: Int,
    elementsOffset: Int, stride: Int, alignment: Int
  ) {
    self.buffer = buffer
    self.header = header
    self.element = element
    self.headerOffset = headerOffset
    self.elementsOffset = elementsOffset
    self.stride = stride
    self.alignment = alignment
  }
}
