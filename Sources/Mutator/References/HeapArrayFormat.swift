// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// How an array lies in memory.
//
//   byte 0                 count, one word
//   byte elementsOffset    the elements, each at a multiple of its stride
//
// The count is written once, before the array is published. The collector reads it to know
// how many elements to scan, so it is part of the format and no field of a Swift struct. The
// elements start behind the count, at the first multiple of their alignment. Strings have the
// same format, with bytes as elements.

/// The format of array objects: for `HeapArray`, `HeapString` and whoever allocates them.
@usableFromInline package enum HeapArrayFormat {
  /// Bytes before the first element.
  ///
  /// - Parameter alignment: of an element, a power of two.
  @inlinable @inline(__always)
  package static func elementsOffset(alignment: Int) -> Int { max(8, alignment) }

  /// The alignment of an array object whose elements have the given alignment.
  @inlinable package static func objectAlignment(elements alignment: Int) -> Int {
    max(8, alignment)
  }

  /// Bytes of an array object, or nil when that is more than there are addresses for.
  @inlinable package static func byteSize(count: Int, stride: Int, alignment: Int) -> Int? {
    guard count >= 0 else { return nil }
    let (elements, tooMany) = count.multipliedReportingOverflow(by: stride)
    let (size, tooLarge) = elements.addingReportingOverflow(elementsOffset(alignment: alignment))
    return tooMany || tooLarge || size > 1 << 47 ? nil : size
  }

  @usableFromInline @inline(never)
  package static func indexOutOfRange(_ index: Int, count: Int) -> Never {
    fatalError("Index out of range: index \(index) in an array of \(count) elements")
  }

  @usableFromInline @inline(never)
  package static func rangeOutOfRange(_ start: Int, _ length: Int, count: Int) -> Never {
    fatalError(
      "Range out of range: \(length) elements from index \(start) in an array of \(count) elements"
    )
  }
}
