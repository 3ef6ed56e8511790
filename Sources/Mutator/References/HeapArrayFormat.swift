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

internal import Heap

/// The format of array objects: for `HeapArray`, `HeapString` and whoever allocates them.
@usableFromInline package enum HeapArrayFormat {
  /// Bytes before the first element, which is the alignment of the array object as well.
  ///
  /// - Parameter alignment: of an element, a power of two.
  @inlinable @inline(__always)
  package static func elementsOffset(alignment: Int) -> Int { max(8, alignment) }

  @usableFromInline @inline(never)
  package static func indexOutOfRange(_ index: Int, count: Int) -> Never {
    broken("Index out of range: index \(index) in an array of \(count) elements")
  }

  @usableFromInline @inline(never)
  package static func rangeOutOfRange(_ start: Int, _ length: Int, count: Int) -> Never {
    broken(
      "Range out of range: \(length) elements from index \(start) in an array of \(count) elements"
    )
  }

  // MARK: - Collections that misstate their count

  /// Stops the program unless a collection has as many elements as its count says.
  ///
  /// Memory is taken and ranges are checked for the count, so nothing may be copied before this is
  /// known.
  @inlinable @inline(__always)
  package static func requireCount(_ found: Int, _ promised: Int) {
    guard found == promised else { wrongCount(found, promised) }
  }

  @usableFromInline @inline(never)
  package static func wrongCount(_ found: Int, _ promised: Int) -> Never {
    broken("a collection has \(found) elements, and its count says \(promised)")
  }

  @usableFromInline @inline(never)
  package static func tooManyElements(_ promised: Int) -> Never {
    broken("a collection has more elements than its count says, which is \(promised)")
  }
}
