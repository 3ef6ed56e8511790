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
// Records are made once for a type of a process and never freed, so a map is a pointer that
// anyone may keep, and finding one takes no lock: a direct-mapped table of recent records in
// front of the dictionary of all. The number of records is the number of types that a program
// stores while a collector marks, or keeps in arrays.
//
// `HeapObject`s answer with the layout that they state; all other types by their fields.
//
// Ordering: a record is complete before it is published with a releasing store in the table
// (pair: the acquiring load in `find`) or under the lock of the dictionary.

internal import Synchronization

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

  /// Byte offsets of the words that hold a reference or zero, ascending.
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
  /// A value is one word, and that is a reference.
  package var isReferenceWord: Bool {
    unsafe record.pointee.referenceCount == 1 && record.pointee.size == 8
  }

  // MARK: - Fast path

  /// Addresses of records found lately, by hash of the metatype; zero: none yet.
  private static let recent = InlineArray<256, Atomic<UInt>> { _ in Atomic(0) }

  /// The map of a type, or the reason why there is none.
  ///
  /// - Throws: `HeapError.unsupportedType` for a type that cannot be kept in the heap.
  /// - Complexity: a hash and a comparison for a type in use; a dictionary look-up for one that
  ///   shares its place in the table; O(fields) the first time.
  package static func find(_ type: Any.Type) throws(HeapError) -> FieldMap {
    let key = ObjectIdentifier(type)
    // Fibonacci hashing: the upper byte of the product.
    let hash = (UInt(bitPattern: key) >> 4) &* 0x9E37_79B9_7F4A_7C15
    let place = Int(bitPattern: hash >> 56)
    let latest = recent[place].load(ordering: .acquiring)
    if latest != 0 {
      let map = FieldMap(address: latest)
      if unsafe map.record.pointee.type == key { return map }
    }
    let map = try findSlow(type)
    recent[place].store(map.address, ordering: .releasing)
    return map
  }

  /// The map of a type that is known to have one: values of it are in the heap already.
  package static func of<Value>(_ type: Value.Type) -> FieldMap {
    do throws(HeapError) {
      return try find(type)
    } catch {
      fatalError(error.description)
    }
  }

  // MARK: - Slow path

  private static let all = Mutex<[ObjectIdentifier: FieldMap]>([:])

  @inline(never)
  private static func findSlow(_ type: Any.Type) throws(HeapError) -> FieldMap {
    let key = ObjectIdentifier(type)
    if let map = all.withLock({ $0[key] }) { return map }
    let offsets: ReferenceOffsets
    if let object = type as? any HeapObject.Type {
      let layout = try layout(of: object)
      offsets = ReferenceOffsets(precise: layout.references, ambiguous: layout.ambiguous)
    } else {
      offsets = try LayoutDerivation.offsets(in: type)
    }
    return all.withLock { known in
      if let map = known[key] { return map }
      let map = FieldMap(type, offsets)
      known[key] = map
      return map
    }
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
        ambiguousCount: words.ambiguous.count, offsets: offsets))
    address = UInt(bitPattern: record)
  }
}
