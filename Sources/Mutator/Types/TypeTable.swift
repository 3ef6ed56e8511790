// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The types a heap has met, and where their objects come from.
//
// A type is met once a heap: its layout becomes a record that the collector reads, and a
// shelf is found for its objects. From then on each thread that allocates it has a cache
// entry, so this table is asked once a type and thread for objects. Arrays ask for their
// element's layout at every allocation (the size class follows from it), from a small
// direct-mapped table in front of the lock.
//
// Guarded by: the lock inside. Ordering: `recent` is published releasing and read acquiring;
// an entry is the address of an immutable record that names its key.

internal import Collector
internal import Heap
internal import Synchronization

/// The types that one heap knows.
package final class TypeTable: Sendable {
  private struct State {
    var objects: [UInt: SpanShelf] = [:]
    var elements: [UInt: HeapLayout] = [:]
    var tinySlots: SpanShelf?
  }

  private let core: CollectedHeap
  private let state = Mutex(State())
  /// Element types asked for lately.
  private let recent = RecentElements()

  init(core: CollectedHeap) { self.core = core }

  // MARK: - Objects

  /// Where objects of a type come from.
  func object(_ type: any HeapObject.Type) throws(HeapError) -> SpanShelf {
    let key = UInt(bitPattern: ObjectIdentifier(type))
    if let shelf = state.withLock({ $0.objects[key] }) { return shelf }
    let layout = try Self.checkedLayout(type)
    return try state.withLock { state throws(HeapError) -> SpanShelf in
      if let shelf = state.objects[key] { return shelf }
      let record = try register(
        HeapLayout.Description(
          kind: .object, size: layout.size, alignment: layout.alignment,
          references: layout.references, ambiguous: layout.ambiguous, isTiny: layout.isTiny),
        layout.typeName)
      let sizeClass = SizeClass.of(size: max(layout.size, 1), alignment: layout.alignment) ?? .large
      let shelf = try shelf(for: record, in: layout.isTiny ? Self.tinyClass : sizeClass)
      state.objects[key] = shelf
      return shelf
    }
  }

  private static func checkedLayout<Object: HeapObject>(
    _ type: Object.Type
  ) throws(HeapError) -> ObjectLayout { try ObjectLayout.checked(of: type) }

  // MARK: - Tiny values

  private static var tinyClass: SizeClass { SizeClass(2) }

  /// Where the slots come from that tiny values share.
  func tinySlots() throws(HeapError) -> SpanShelf {
    try state.withLock { state throws(HeapError) -> SpanShelf in
      if let shelf = state.tinySlots { return shelf }
      let record = try register(
        HeapLayout.Description(
          kind: .object, size: 16, alignment: 8, references: [], isTiny: true), "tiny values")
      let shelf = try shelf(for: record, in: Self.tinyClass)
      state.tinySlots = shelf
      return shelf
    }
  }

  // MARK: - Arrays

  /// The layout of arrays of an element type.
  func elements(_ type: Any.Type) throws(HeapError) -> HeapLayout {
    let key = UInt(bitPattern: ObjectIdentifier(type))
    if let layout = recent.find(key) { return layout }
    let map = try FieldMap.find(type)
    let layout = try state.withLock { state throws(HeapError) -> HeapLayout in
      if let layout = state.elements[key] { return layout }
      let layout = try register(
        HeapLayout.Description(
          kind: .array, size: map.stride,
          alignment: HeapArrayFormat.objectAlignment(elements: map.alignment),
          elementsOffset: HeapArrayFormat.elementsOffset(alignment: map.alignment),
          references: unsafe map.references.map { Int($0) },
          ambiguous: unsafe map.ambiguous.map { Int($0) }), "HeapArray<\(type)>")
      state.elements[key] = layout
      return layout
    }
    recent.add(key, layout)
    return layout
  }

  /// Where arrays of a layout come from in a size class.
  func arrays(of layout: HeapLayout, in sizeClass: SizeClass) throws(HeapError) -> SpanShelf {
    try shelf(for: layout, in: sizeClass)
  }

  // MARK: - The heap's side

  private func register(
    _ description: HeapLayout.Description, _ name: String
  ) throws(HeapError) -> HeapLayout {
    do throws(SystemFailure) {
      return try core.register(description, name: name)
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

/// A direct-mapped table of element types: two words an entry, the second published last.
@safe private final class RecentElements: @unchecked Sendable {
  // Sendable: atomics.
  private static let count = 64

  /// An immutable pair.
  private struct Pair {
    let key: UInt
    let layout: HeapLayout
  }

  private let places: UnsafeMutablePointer<Atomic<UInt>>
  private let made = Mutex<[UInt]>([])

  init() {
    unsafe places = .allocate(capacity: Self.count)
    for i in 0..<Self.count { unsafe (places + i).initialize(to: Atomic(0)) }
  }

  deinit {
    for address in made.withLock({ $0 }) {
      unsafe UnsafeMutablePointer<Pair>(bitPattern: address)?.deallocate()
    }
    unsafe places.deallocate()
  }

  private static func place(_ key: UInt) -> Int {
    Int(bitPattern: ((key >> 4) &* 0x9E37_79B9_7F4A_7C15) >> 58)
  }

  func find(_ key: UInt) -> HeapLayout? {
    // Acquiring: pairs with `add`.
    let address = unsafe places[Self.place(key)].load(ordering: .acquiring)
    guard let pair = unsafe UnsafePointer<Pair>(bitPattern: address),
      unsafe pair.pointee.key == key
    else { return nil }
    return unsafe pair.pointee.layout
  }

  func add(_ key: UInt, _ layout: HeapLayout) {
    let pair = UnsafeMutablePointer<Pair>.allocate(capacity: 1)
    unsafe pair.initialize(to: Pair(key: key, layout: layout))
    made.withLock { $0.append(UInt(bitPattern: pair)) }
    unsafe places[Self.place(key)].store(UInt(bitPattern: pair), ordering: .releasing)
  }
}
