// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The reference words of any type of value, ready for the write barrier.
//
// An object's layout serves the collector and belongs to a heap. A field map is the same
// knowledge for a store: the value that is about to be overwritten may be a struct, a tuple
// or an element of an array, and while the collector marks, each reference in it is recorded.
//
//   map ──► Record { type, size, stride, alignment, counts }, then the offsets (UInt32)
//
// A record is made once for a type of the process and never freed. So a map is a pointer that
// anyone may keep. Finding one takes no lock (MetatypeTable). There are as many records as
// there are types that the program keeps in arrays, or stores while a collector marks.
//
// A `HeapObject` answers with the layout that it states, every other type by its fields.
//
// Ordering: a record is complete before it is published (MetatypeTable).

internal import Collector
internal import Heap

/// Offsets of the references in a value of one type.
@safe @frozen @usableFromInline package struct FieldMap: @unchecked Sendable {
  // Sendable: a record is immutable once it is published, and lives for ever.
  @safe private struct Record {
    var type: ObjectIdentifier
    var size: Int
    var stride: Int
    var alignment: Int
    var referenceCount: Int
    var ambiguousCount: Int
    var hasImmediates: Bool
    var ownsValues: Bool
    var offsets: UnsafeMutablePointer<UInt32>
  }

  private let address: UInt

  private var record: UnsafePointer<Record> {
    // SAFETY: the address of a record, which is never freed.
    unsafe UnsafePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// Bytes of a value.
  package var size: Int { unsafe record.pointee.size }
  /// Bytes from one value to the next in an array.
  package var stride: Int { unsafe record.pointee.stride }
  package var alignment: Int { unsafe record.pointee.alignment }

  /// Byte offsets of the words that hold a reference, zero, or an immediate, ascending.
  package var references: UnsafeBufferPointer<UInt32> {
    unsafe UnsafeBufferPointer(start: record.pointee.offsets, count: record.pointee.referenceCount)
  }
  /// Byte offsets of the words that may hold a reference, ascending.
  package var ambiguous: UnsafeBufferPointer<UInt32> {
    unsafe UnsafeBufferPointer(
      start: record.pointee.offsets + record.pointee.referenceCount,
      count: record.pointee.ambiguousCount)
  }

  /// No reference can be in a value.
  package var isNoscan: Bool {
    unsafe record.pointee.referenceCount + record.pointee.ambiguousCount == 0
  }
  /// A precise word may be an immediate.
  package var hasImmediates: Bool { unsafe record.pointee.hasImmediates }
  /// A value has parts that ARC manages.
  package var ownsValues: Bool { unsafe record.pointee.ownsValues }
  /// A value is one word, and that is a reference.
  package var isReferenceWord: Bool {
    unsafe record.pointee.referenceCount == 1 && record.pointee.size == 8
  }

  // MARK: - Finding

  private static let maps = MetatypeTable()

  /// The map of a type of elements, or the reason why there is none.
  ///
  /// - Throws: `HeapError.unsupportedType` for a type that cannot be kept in the heap, and for one with
  ///   parts that ARC manages.
  /// - Complexity: O(fields) the first time, a look-up without a lock afterwards.
  package static func find(_ type: Any.Type) throws(HeapError) -> FieldMap {
    let map = try find(field: type)
    guard !map.ownsValues else { throw LayoutDerivation.refusal(ofElement: type) }
    return map
  }

  /// The map of a type of fields or objects, or the reason why there is none.
  ///
  /// - Throws: `HeapError.unsupportedType` for a type that cannot be kept in the heap.
  package static func find(field type: Any.Type) throws(HeapError) -> FieldMap {
    let key = UInt(bitPattern: ObjectIdentifier(type))
    if let map = maps.find(key) { return FieldMap(address: map) }
    return try make(type, key)
  }

  /// The map of a type that is known to have one: values of it are in the heap already.
  package static func of(_ type: Any.Type) -> FieldMap {
    do throws(HeapError) {
      return try find(field: type)
    } catch {
      broken(error.description)
    }
  }

  /// The same, for a mutator that records many values of few types.
  @inline(__always)
  static func of(_ type: Any.Type, recordedBy mutator: AttachedMutator) -> FieldMap {
    let key = UInt(bitPattern: ObjectIdentifier(type))
    let (last, map) = unsafe mutator.state.pointee.recordedType
    if last == key { return FieldMap(address: map) }
    let found = of(type)
    unsafe mutator.state.pointee.recordedType = (key, found.address)
    return found
  }

  @inline(never)
  private static func make(_ type: Any.Type, _ key: UInt) throws(HeapError) -> FieldMap {
    let offsets: ReferenceOffsets
    if let object = type as? any HeapObject.Type {
      // Outside the lock: a layout that is stated by hand is the program's code.
      let layout = try layout(of: object)
      offsets = layout.offsets
    } else {
      offsets = try LayoutDerivation.offsets(in: type)
    }
    return FieldMap(address: maps.find(key) { FieldMap(type, offsets).address })
  }

  private static func layout<Object: HeapObject>(
    of type: Object.Type
  ) throws(HeapError) -> ObjectLayout { try ObjectLayout.checked(of: type) }

  private init(address: UInt) { self.address = address }

  private init(_ type: Any.Type, _ words: ReferenceOffsets) {
    let count = words.precise.count + words.ambiguous.count
    let offsets = UnsafeMutablePointer<UInt32>.allocate(capacity: max(count, 1))
    for (index, offset) in (words.precise + words.ambiguous).enumerated() {
      unsafe (offsets + index).initialize(to: UInt32(offset))
    }
    let metadata = TypeMetadata(type)
    let record = UnsafeMutablePointer<Record>.allocate(capacity: 1)
    unsafe record.initialize(
      to: Record(
        type: ObjectIdentifier(type), size: metadata.size, stride: metadata.stride,
        alignment: metadata.alignment, referenceCount: words.precise.count,
        ambiguousCount: words.ambiguous.count, hasImmediates: words.hasImmediates,
        ownsValues: !metadata.isTrivial, offsets: offsets))
    address = UInt(bitPattern: record)
  }
}
