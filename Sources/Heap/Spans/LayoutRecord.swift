// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Layouts: where in an object the references are.
//
// A layout is all that the heap knows about a type. It belongs to a span, not to an object: all
// slots of a span hold objects of one layout. So the scan loop loads the layout once for up to
// a thousand objects, and an allocation writes no header. There are three kinds:
//
//   object   `size` bytes; references at fixed offsets
//   array    a count in the first word, elements of `size` bytes from `elementsOffset` on;
//            references at fixed offsets of each element
//   buffer   an array with a value between the count and the elements, the header, which has a
//            layout of its own, of the kind `object`, that no span has
//
// A precise offset holds a reference or zero, or in some layouts an immediate (ReferenceWord). An
// ambiguous one (a payload of an enum) may hold any word. It is looked up as a word of a stack is. Most
// layouts are plain: they have neither immediates nor ambiguous words, and are scanned without a look
// for them.
//
// Owner       the heap. A record is made when a type is registered, does not change afterwards,
//             and lives as long as the heap.
// Ordering    published under the lock for registration; read through spans and caches that
//             were made after that.

/// The memory layout of one type's objects, as the collector reads it.
@unsafe @usableFromInline package struct LayoutRecord: ~Copyable {
  @usableFromInline package enum Kind: UInt8, Sendable {
    case object
    case array
    case buffer
  }

  @usableFromInline package var kind: Kind
  /// An object has no references: it is never scanned.
  @usableFromInline package var isNoscan: Bool
  /// Values of several types share a 16-byte slot.
  @usableFromInline package var isTiny: Bool
  /// Every word that matters is a reference or zero.
  @usableFromInline package var isPlain: Bool
  /// An object owns values that have to be destroyed when it has died.
  @usableFromInline package var ownsValues: Bool
  /// Bytes of an object, or from one element to the next.
  @usableFromInline package var size: UInt
  @usableFromInline package var alignment: UInt
  /// Bytes before the first element of an array or a buffer.
  @usableFromInline package var elementsOffset: UInt
  /// Address of the record of a buffer's header, or 0.
  @usableFromInline package var header: UInt
  /// Bytes before the header of a buffer.
  @usableFromInline package var headerOffset: UInt
  @usableFromInline package var referenceCount: Int
  /// Byte offsets of the precise reference words, ascending.
  @usableFromInline package var references: UnsafeMutablePointer<UInt32>
  @usableFromInline package var ambiguousCount: Int
  /// Byte offsets of the ambiguous words, ascending.
  @usableFromInline package var ambiguous: UnsafeMutablePointer<UInt32>
  /// Place in the heap's list of layouts.
  @usableFromInline package var identifier: Int
  /// What the objects are, in the words of whoever made the layout; 0 if it has none.
  @usableFromInline package var type: UInt
}

/// A handle to a `LayoutRecord`.
@safe @frozen @usableFromInline package struct HeapLayout: Hashable, @unchecked Sendable {
  // Sendable: the record is immutable once the handle is handed out.
  @usableFromInline package let address: UInt

  @inlinable package init(address: UInt) { self.address = address }

  @inlinable @inline(__always) package var record: UnsafeMutablePointer<LayoutRecord> {
    // SAFETY: records outlive every handle (RecordMemory).
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  @inlinable package var kind: LayoutRecord.Kind { unsafe record.pointee.kind }
  @inlinable package var isNoscan: Bool { unsafe record.pointee.isNoscan }
  @inlinable package var isTiny: Bool { unsafe record.pointee.isTiny }
  @inlinable package var isPlain: Bool { unsafe record.pointee.isPlain }
  @inlinable package var ownsValues: Bool { unsafe record.pointee.ownsValues }
  @inlinable package var size: UInt { unsafe record.pointee.size }
  @inlinable package var alignment: UInt { unsafe record.pointee.alignment }
  @inlinable package var elementsOffset: UInt { unsafe record.pointee.elementsOffset }
  @inlinable package var identifier: Int { unsafe record.pointee.identifier }
  @inlinable @inline(__always) package var type: UInt { unsafe record.pointee.type }

  /// The layout of a buffer's header.
  @inlinable package var header: HeapLayout? {
    let header = unsafe record.pointee.header
    return header == 0 ? nil : HeapLayout(address: header)
  }
  @inlinable package var headerOffset: UInt { unsafe record.pointee.headerOffset }

  /// There are references in the object's fields, or in the elements of an array or a buffer.
  @inlinable package var hasOwnReferences: Bool {
    unsafe record.pointee.referenceCount + record.pointee.ambiguousCount != 0
  }

  @inlinable package var references: UnsafeBufferPointer<UInt32> {
    unsafe UnsafeBufferPointer(
      start: record.pointee.references, count: record.pointee.referenceCount)
  }
  @inlinable package var ambiguous: UnsafeBufferPointer<UInt32> {
    unsafe UnsafeBufferPointer(
      start: record.pointee.ambiguous, count: record.pointee.ambiguousCount)
  }

  /// Bytes of an array of `count` elements, or nil when they are more than half of the address
  /// space, or the count is negative.
  package func arraySize(count: Int) -> Int? {
    Self.arraySize(count: count, stride: Int(size), elementsOffset: Int(elementsOffset))
  }

  /// The same for elements that lie `stride` bytes apart, from `elementsOffset` on.
  package static func arraySize(count: Int, stride: Int, elementsOffset: Int) -> Int? {
    guard count >= 0 else { return nil }
    let (elements, overflow) = stride.multipliedReportingOverflow(by: count)
    guard !overflow, elements <= 1 << Int(Geometry.addressBits - 1) else { return nil }
    return elements + elementsOffset
  }

  // MARK: - Making one

  /// A description that becomes a record.
  package struct Description: Sendable {
    package var kind: LayoutRecord.Kind
    package var size: Int
    package var alignment: Int
    package var elementsOffset: Int
    package var references: [Int]
    package var ambiguous: [Int]
    /// A word of `references` may be an immediate.
    package var hasImmediates: Bool
    package var isTiny: Bool
    package var ownsValues: Bool
    package var type: UInt
    /// What lies before the elements of a buffer, and where.
    package var header: (layout: HeapLayout, offset: Int)?

    package init(
      kind: LayoutRecord.Kind, size: Int, alignment: Int, elementsOffset: Int = 0,
      references: [Int], ambiguous: [Int] = [], hasImmediates: Bool = false,
      isTiny: Bool = false, ownsValues: Bool = false, type: UInt = 0,
      header: (layout: HeapLayout, offset: Int)? = nil
    ) {
      self.kind = kind
      self.size = size
      self.alignment = alignment
      self.elementsOffset = elementsOffset
      self.references = references
      self.ambiguous = ambiguous
      self.hasImmediates = hasImmediates
      self.isTiny = isTiny
      self.ownsValues = ownsValues
      self.type = type
      self.header = header
    }
  }

  package static func make(
    _ description: Description, identifier: Int, in memory: RecordMemory
  ) throws(SystemFailure) -> HeapLayout {
    let offsets = description.references.count + description.ambiguous.count
    let address = unsafe try memory.allocate(size: MemoryLayout<LayoutRecord>.size)
    let table = try memory.allocate(size: max(4 * offsets, 4))
    let layout = HeapLayout(address: address)
    let references = unsafe UnsafeMutablePointer<UInt32>(bitPattern: table).unsafelyUnwrapped
    let ambiguous = unsafe references + description.references.count
    for (i, offset) in description.references.sorted().enumerated() {
      unsafe references[i] = UInt32(offset)
    }
    for (i, offset) in description.ambiguous.sorted().enumerated() {
      unsafe ambiguous[i] = UInt32(offset)
    }
    unsafe layout.record.initialize(
      to: LayoutRecord(
        kind: description.kind,
        isNoscan: offsets == 0 && description.header?.layout.isNoscan ?? true,
        isTiny: description.isTiny,
        isPlain: description.ambiguous.isEmpty && !description.hasImmediates,
        ownsValues: description.ownsValues,
        size: UInt(description.size), alignment: UInt(description.alignment),
        elementsOffset: UInt(description.elementsOffset),
        header: description.header?.layout.address ?? 0,
        headerOffset: UInt(description.header?.offset ?? 0),
        referenceCount: description.references.count, references: references,
        ambiguousCount: description.ambiguous.count, ambiguous: ambiguous,
        identifier: identifier, type: description.type))
    return layout
  }
}
