// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The types a heap has met, and where their objects come from.
//
// A heap meets a type once. The type's layout becomes a record that the collector reads, and a
// shelf is found for its objects. From then on each thread that allocates objects of the type
// has an entry in its cache, so for objects this table is asked once a type and thread.
//
// Arrays ask for the layout of their elements at every allocation, because the size class
// follows from it. They find it without a lock (MetatypeTable).
//
//     shelves    metatype of an object, or the key of the tiny slots  →  shelf
//     elements   metatype of an element                               →  layout of its arrays
//     buffers    metatype of a buffer                                 →  layout of such buffers
//
// Guarded by: the locks of the tables, no two of which are held together.

internal import Collector
package import Heap

/// The types that one heap knows.
package final class TypeTable: Sendable {
  private let core: CollectedHeap
  private let shelves = MetatypeTable()
  private let elements = MetatypeTable()
  private let buffers = MetatypeTable()

  init(core: CollectedHeap) { self.core = core }

  private static func key(_ type: Any.Type) -> UInt { UInt(bitPattern: ObjectIdentifier(type)) }

  // MARK: - Objects

  /// Where objects of a type come from.
  func object(_ type: any HeapObject.Type) throws(HeapError) -> SpanShelf {
    let key = Self.key(type)
    if let shelf = shelves.find(key) { return SpanShelf(address: shelf) }
    // Outside the lock: a layout that is stated by hand is the program's code.
    let layout = try Self.layout(type)
    let address = try shelves.find(key) { () throws(HeapError) -> UInt in
      let record = try register(
        HeapLayout.Description(
          kind: .object, size: layout.size, alignment: layout.alignment,
          references: layout.references, ambiguous: layout.ambiguous,
          hasImmediates: layout.hasImmediates, isTiny: layout.isTiny, type: TypeKey.object(type)),
        TypeKey.name(of: TypeKey.object(type)), of: type,
        destroy: layout.hasDestroy ? Self.destroy(type) : nil)
      let sizeClass = SizeClass.of(size: max(layout.size, 1), alignment: layout.alignment) ?? .large
      return try shelf(for: record, in: layout.isTiny ? Self.tinyClass : sizeClass).address
    }
    return SpanShelf(address: address)
  }

  private static func layout<Object: HeapObject>(
    _ type: Object.Type
  ) throws(HeapError) -> ObjectLayout { try ObjectLayout.checked(of: type) }

  /// The layout of a type whose instances own nothing: for what is no object by itself.
  private static func checkedLayout(_ type: any HeapObject.Type) throws(HeapError) -> ObjectLayout {
    let layout = try Self.layout(type)
    guard !layout.hasDestroy else { throw LayoutDerivation.refusal(ofElement: type) }
    return layout
  }

  /// Destroys what objects of a type own.
  private static func destroy(_ type: Any.Type) -> DestroyFunction {
    { first, count, stride in
      func destroy<Object>(_: Object.Type) {
        for index in 0..<UInt(count) {
          // SAFETY: an object, or its bytes, which nobody else has.
          unsafe UnsafeMutablePointer<Object>(bitPattern: first + index * UInt(stride))
            .unsafelyUnwrapped.deinitialize(count: 1)
        }
      }
      _openExistential(type, do: destroy)
    }
  }

  // MARK: - Tiny values

  private static var tinyClass: SizeClass { SizeClass(1) }

  /// Where the slots come from that tiny values share.
  func tinySlots() throws(HeapError) -> SpanShelf {
    let address = try shelves.find(CacheKey.tinySlots) { () throws(HeapError) -> UInt in
      let record = try register(
        HeapLayout.Description(
          kind: .object, size: 16, alignment: 8, references: [], isTiny: true,
          type: TypeKey.tiny),
        TypeKey.name(of: TypeKey.tiny), of: Void.self)
      return try shelf(for: record, in: Self.tinyClass).address
    }
    return SpanShelf(address: address)
  }

  // MARK: - Arrays

  /// The layout of arrays of an element type, or of storages: then the type is theirs.
  package func elements(_ type: Any.Type) throws(HeapError) -> HeapLayout {
    let key = Self.key(type)
    if let layout = elements.find(key) { return HeapLayout(address: layout) }
    let storage = type as? any ElementStorageType.Type
    let element = storage?.element ?? type
    let map = try FieldMap.find(element)
    // In an array, the check of the first value has done this. The verifier must not: it holds a lock.
    if storage != nil, unsafe !map.ambiguous.isEmpty { _ = ReferencePlan.of(element) }
    let layout = try elements.find(key) { () throws(HeapError) -> UInt in
      let alignment = HeapArrayFormat.elementsOffset(alignment: map.alignment)
      return try register(
        HeapLayout.Description(
          kind: .array, size: map.stride, alignment: alignment,
          elementsOffset: storage?.elementsOffset ?? alignment,
          references: unsafe map.references.map { Int($0) },
          ambiguous: unsafe map.ambiguous.map { Int($0) }, hasImmediates: map.hasImmediates,
          type: TypeKey.array(of: type)),
        TypeKey.name(of: TypeKey.array(of: type)), of: element
      ).address
    }
    return HeapLayout(address: layout)
  }

  /// Where arrays of a layout come from in a size class.
  func arrays(of layout: HeapLayout, in sizeClass: SizeClass) throws(HeapError) -> SpanShelf {
    try shelf(for: layout, in: sizeClass)
  }

  // MARK: - Buffers

  /// The layout of the buffers of a type.
  func buffer(_ shape: HeapBufferShape) throws(HeapError) -> HeapLayout {
    let key = Self.key(shape.buffer)
    if let layout = buffers.find(key) { return HeapLayout(address: layout) }
    let layout = try Self.checkedLayout(shape.header)
    let map = try FieldMap.find(shape.element)
    let address = try buffers.find(key) { () throws(HeapError) -> UInt in
      let header = try register(
        HeapLayout.Description(
          kind: .object, size: layout.size, alignment: layout.alignment,
          references: layout.references, ambiguous: layout.ambiguous,
          hasImmediates: layout.hasImmediates),
        layout.typeName, of: shape.header)
      return try register(
        HeapLayout.Description(
          kind: .buffer, size: map.stride, alignment: shape.alignment,
          elementsOffset: shape.elementsOffset, references: unsafe map.references.map { Int($0) },
          ambiguous: unsafe map.ambiguous.map { Int($0) }, hasImmediates: map.hasImmediates,
          type: TypeKey.buffer(shape.buffer), header: (header, shape.headerOffset)),
        TypeKey.name(of: TypeKey.buffer(shape.buffer)), of: shape.element
      ).address
    }
    return HeapLayout(address: address)
  }

  /// Where buffers of a layout come from in a size class.
  func buffers(of layout: HeapLayout, in sizeClass: SizeClass) throws(HeapError) -> SpanShelf {
    try shelf(for: layout, in: sizeClass)
  }

  // MARK: - References

  /// The layout of what a reference leads to; nil when the heap has met no such type.
  func layout(of target: ReferenceTarget) -> HeapLayout? {
    switch target {
    case .object(let type):
      shelves.find(Self.key(type)).map { SpanShelf(address: $0).layout }
    case .array(let element):
      elements.find(Self.key(element)).map { HeapLayout(address: $0) }
    case .buffer(let type):
      buffers.find(Self.key(type)).map { HeapLayout(address: $0) }
    case .anyValue: nil
    }
  }

  // MARK: - The heap's side

  /// Makes a layout known.
  ///
  /// - Parameters:
  ///   - type: of an object, of a buffer's header, or of an element: names the fields.
  ///   - destroy: destroys what objects own; nil if they own nothing.
  private func register(
    _ description: HeapLayout.Description, _ name: String, of type: Any.Type,
    destroy: DestroyFunction? = nil
  ) throws(HeapError) -> HeapLayout {
    do throws(SystemFailure) {
      // By word: an enum's references are the layout's ambiguous words.
      var isAmbiguous = Array(repeating: false, count: (description.ambiguous.max() ?? -8) / 8 + 1)
      for offset in description.ambiguous { isAmbiguous[offset / 8] = true }
      let words = isAmbiguous
      return try core.register(
        description, name: name,
        fieldName: { offset in LayoutDerivation.fieldPath(in: type, at: offset) },
        enumReferences: { value, body in
          guard let start = unsafe UnsafeRawPointer(bitPattern: value) else { return }
          unsafe ReferencePlan.of(type).forEachEnumReference(in: start) { offset, word in
            if offset / 8 < words.count, words[offset / 8] { body(offset, word) }
          }
        }, destroy: destroy)
    } catch {
      throw .system(operation: error.operation, errno: error.code)
    }
  }

  private func shelf(
    for layout: HeapLayout, in sizeClass: SizeClass
  ) throws(HeapError) -> SpanShelf {
    do throws(SystemFailure) {
      return try core.central.shelf(for: layout, in: sizeClass)
    } catch {
      throw .system(operation: error.operation, errno: error.code)
    }
  }
}
