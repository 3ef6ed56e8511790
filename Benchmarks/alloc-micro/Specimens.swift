// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What is allocated: objects of 16 to 65,536 bytes, with and without references.
//
//     words    noscan            scan
//     2        Numbers2          Links2           two fields
//     4…128    Numbers4…         Links4…          first, InlineArray, last
//     1024     HeapArray<Int>    HeapArray<HeapRef<Cell>?>
//     8192     the same
//
// A specimen writes its first and last word with something that can be checked later and leaves
// the rest zero or nil. A Swift struct is built by its initialiser and then moved into the heap,
// where the compiler makes one of the two; for a value of a few kilobytes building it would cost
// more than the allocation, hence arrays for those. (An array also stores its length, so it is a
// word or two larger than the size that names it.)
//
// The types are written out because a size class per type is just what is measured: a generic
// `Numbers<let words: Int>` would do the same with one metatype for each.

internal import Mutator

/// What the references of scanned objects refer to.
struct Cell: HeapObject {
  let value: Int
}

/// A way to make objects of one size, and to read back what was written into them.
protocol Specimen {
  /// A reference to the object: `HeapRef` or `HeapArray`.
  associatedtype Reference

  /// Bytes.
  var size: Int { get }

  func make(_ index: Int, _ cell: HeapRef<Cell>, in mutator: HeapMutator) -> Reference

  /// What the last word holds, or what it refers to.
  func lastWord(of reference: Reference) -> Int
}

// MARK: - Structs

/// An object that is a struct.
protocol StructSpecimen: HeapObject {
  init(_ index: Int, _ cell: HeapRef<Cell>)
  static func lastWord(of reference: HeapRef<Self>) -> Int
}

struct Structs<Object: StructSpecimen>: Specimen {
  var size: Int { MemoryLayout<Object>.size }

  func make(_ index: Int, _ cell: HeapRef<Cell>, in mutator: HeapMutator) -> HeapRef<Object> {
    mutator.allocate(Object(index, cell))
  }

  func lastWord(of reference: HeapRef<Object>) -> Int { Object.lastWord(of: reference) }
}

struct Numbers2: StructSpecimen {
  let first: Int
  let last: Int

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = index
    last = index
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last }
}

struct Links2: StructSpecimen {
  let first: HeapRef<Cell>?
  let last: HeapRef<Cell>?

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = cell
    last = cell
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last?.value ?? 0 }
}

struct Numbers4: StructSpecimen {
  let first: Int
  let middle = InlineArray<2, Int>(repeating: 0)
  let last: Int

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = index
    last = index
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last }
}

struct Numbers8: StructSpecimen {
  let first: Int
  let middle = InlineArray<6, Int>(repeating: 0)
  let last: Int

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = index
    last = index
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last }
}

struct Numbers32: StructSpecimen {
  let first: Int
  let middle = InlineArray<30, Int>(repeating: 0)
  let last: Int

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = index
    last = index
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last }
}

struct Numbers128: StructSpecimen {
  let first: Int
  let middle = InlineArray<126, Int>(repeating: 0)
  let last: Int

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = index
    last = index
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last }
}

struct Links4: StructSpecimen {
  let first: HeapRef<Cell>?
  let middle = InlineArray<2, HeapRef<Cell>?>(repeating: nil)
  let last: HeapRef<Cell>?

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = cell
    last = cell
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last?.value ?? 0 }
}

struct Links8: StructSpecimen {
  let first: HeapRef<Cell>?
  let middle = InlineArray<6, HeapRef<Cell>?>(repeating: nil)
  let last: HeapRef<Cell>?

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = cell
    last = cell
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last?.value ?? 0 }
}

struct Links32: StructSpecimen {
  let first: HeapRef<Cell>?
  let middle = InlineArray<30, HeapRef<Cell>?>(repeating: nil)
  let last: HeapRef<Cell>?

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = cell
    last = cell
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last?.value ?? 0 }
}

struct Links128: StructSpecimen {
  let first: HeapRef<Cell>?
  let middle = InlineArray<126, HeapRef<Cell>?>(repeating: nil)
  let last: HeapRef<Cell>?

  init(_ index: Int, _ cell: HeapRef<Cell>) {
    first = cell
    last = cell
  }

  static func lastWord(of reference: HeapRef<Self>) -> Int { reference.last?.value ?? 0 }
}

// MARK: - Arrays

struct NumberArrays: Specimen {
  let words: Int

  var size: Int { words * 8 }

  func make(_ index: Int, _ cell: HeapRef<Cell>, in mutator: HeapMutator) -> HeapArray<Int> {
    let array = mutator.allocateArray(of: Int.self, count: words, repeating: 0)
    array[0] = index
    array[words - 1] = index
    return array
  }

  func lastWord(of reference: HeapArray<Int>) -> Int { reference[words - 1] }
}

struct LinkArrays: Specimen {
  let words: Int

  var size: Int { words * 8 }

  func make(
    _ index: Int, _ cell: HeapRef<Cell>, in mutator: HeapMutator
  ) -> HeapArray<HeapRef<Cell>?> {
    let array = mutator.allocateArray(of: HeapRef<Cell>?.self, count: words, repeating: nil)
    array[0] = cell
    array[words - 1] = cell
    return array
  }

  func lastWord(of reference: HeapArray<HeapRef<Cell>?>) -> Int {
    reference[words - 1]?.value ?? 0
  }
}
