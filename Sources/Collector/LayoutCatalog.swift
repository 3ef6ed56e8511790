// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The layouts of a heap, with what is known of them beyond their records: the name of the type
// and the names of its fields. Reports and checks ask here. Marking does not: a span's record
// leads to the layout's.
//
// Guarded by: the lock inside. A layout is added once for each type and is never removed.

internal import Heap

/// Calls `body` with the offset and the word of every reference in the enums of a value, exactly:
/// a word counts only if the enum has a case in which it is a reference. Nobody changes the value
/// meanwhile.
package typealias EnumReferences =
  @Sendable (_ value: UInt, _ body: (_ offset: Int, _ word: UInt) -> Void) -> Void

/// Destroys what `count` objects own whose bytes lie `stride` apart, from `first` on: they are not
/// objects afterwards. Calls the program's code (`deinit`).
package typealias DestroyFunction =
  @Sendable (_ first: UInt, _ count: Int, _ stride: Int) -> Void

/// Every layout that a heap has met.
package final class LayoutCatalog: Sendable {
  private struct Entry: Sendable {
    var name: String
    var fieldName: @Sendable (_ offset: Int) -> String
    var enumReferences: EnumReferences?
    var destroy: DestroyFunction?
  }

  private let memory: RecordMemory
  private let entries = HeapLock<[Entry]>([], rank: .layouts)

  init(memory: RecordMemory) { self.memory = memory }

  /// Makes a layout known.
  ///
  /// - Parameters:
  ///   - fieldName: names the field at an offset, in an object or in an element.
  ///   - enumReferences: finds the references in the enums of an object or an element.
  ///   - destroy: destroys what objects own; nil if they own nothing.
  func register(
    _ description: HeapLayout.Description, name: String,
    fieldName: @escaping @Sendable (_ offset: Int) -> String, enumReferences: EnumReferences?,
    destroy: DestroyFunction?
  ) throws(SystemFailure) -> HeapLayout {
    var description = description
    description.ownsValues = destroy != nil
    let complete = description
    return try entries.withLock { entries throws(SystemFailure) -> HeapLayout in
      let layout = try HeapLayout.make(complete, identifier: entries.count, in: memory)
      entries.append(
        Entry(
          name: name, fieldName: fieldName, enumReferences: enumReferences, destroy: destroy))
      return layout
    }
  }

  /// How the references in the enums of a layout's objects are found, if that is known.
  func enumReferences(of layout: HeapLayout) -> EnumReferences? {
    entries.withLock { $0[layout.identifier].enumReferences }
  }

  /// How what a layout's objects own is destroyed; nil if they own nothing.
  func destroy(of layout: HeapLayout) -> DestroyFunction? {
    entries.withLock { $0[layout.identifier].destroy }
  }

  /// The type name of a layout.
  func name(of layout: HeapLayout) -> String {
    entries.withLock { $0[layout.identifier].name }
  }

  /// What lies at an offset of an object: `field left`, `element 3, field left`.
  ///
  /// - Parameter path: the way on from the field, if the field is an enum: `.case pair.0`.
  func field(of layout: HeapLayout, at offset: Int, path: String = "") -> String {
    if let header = layout.header, offset < Int(layout.elementsOffset) {
      return field(of: header, at: offset - Int(layout.headerOffset), path: path)
    }
    let name = entries.withLock { $0[layout.identifier].fieldName }
    switch layout.kind {
    case .object: return "field \(name(offset))\(path)"
    case .array, .buffer:
      let (element, inside) = (offset - Int(layout.elementsOffset))
        .quotientAndRemainder(dividingBy: max(Int(layout.size), 1))
      let field = name(inside)
      // An element that is an enum itself has no field name before the case.
      if field.isEmpty {
        return "element \(element)" + (path.isEmpty ? "" : ", \(path.dropFirst())")
      }
      return "element \(element), field \(field)\(path)"
    }
  }
}
