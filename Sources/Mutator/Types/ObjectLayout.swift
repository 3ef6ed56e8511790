// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The layout of a type, as a program sees it.
//
// Two kinds of words matter to the collector. A precise one holds a reference or zero, always; one of a
// HeapValue may hold an immediate, which the collector tells apart by its low bit.
// An ambiguous one belongs to the payload of an enum and holds a reference only sometimes; the
// collector looks it up as it looks up a word of a stack, which is never wrong and may keep
// an object longer than needed. Everything else in an object is not looked at.
//
// A layout is a value and knows the type that it was made for. One that could not be made
// keeps the reason (`problem`) and has no offsets; nobody allocates with it.

/// Where the references are in the instances of a type, and what memory one takes.
public struct ObjectLayout: Sendable {
  /// The type's name.
  public let typeName: String

  /// Bytes of an instance.
  public let size: Int

  /// Alignment of an instance, in bytes.
  public let alignment: Int

  /// Byte offsets of the words that hold a reference, nil, or an immediate of a ``HeapValue``,
  /// ascending.
  public let references: [Int]

  /// Byte offsets of the words that may hold a reference or something else, ascending.
  public let ambiguous: [Int]

  /// Objects of the type are never scanned: they hold no reference.
  public var isNoscan: Bool { references.isEmpty && ambiguous.isEmpty }

  /// Objects of the type have fields that ARC manages (a `String`, an array, a class instance, a
  /// closure, an existential), which are destroyed after the object has died.
  public let hasDestroy: Bool

  /// A word of `references` may be an immediate.
  let hasImmediates: Bool

  /// The type that the layout was made for.
  let type: ObjectIdentifier

  /// Why the type cannot be laid out, or nil when it can.
  let problem: HeapError?

  init(type: Any.Type, offsets: ReferenceOffsets, problem: HeapError? = nil) {
    let metadata = TypeMetadata(type)
    typeName = metadata.name
    size = metadata.size
    alignment = metadata.alignment
    references = offsets.precise
    ambiguous = offsets.ambiguous
    hasImmediates = offsets.hasImmediates
    hasDestroy = !metadata.isTrivial
    self.type = ObjectIdentifier(type)
    self.problem = problem
  }

  /// The words that matter.
  var offsets: ReferenceOffsets {
    ReferenceOffsets(precise: references, ambiguous: ambiguous, hasImmediates: hasImmediates)
  }

  /// The layout of a type that has none.
  init(refused type: Any.Type, because problem: HeapError) {
    self.init(type: type, offsets: ReferenceOffsets(), problem: problem)
  }

  /// The layout that a type states or that was derived for it, if objects can be made with it.
  ///
  /// - Throws: `HeapError.unsupportedType` with the reason why there is none, or when the type
  ///   returns the layout of another type.
  package static func checked<Object: HeapObject>(
    of type: Object.Type
  ) throws(HeapError) -> ObjectLayout {
    let layout = type.layout
    if let problem = layout.problem { throw problem }
    guard layout.type == ObjectIdentifier(type) else {
      throw .unsupportedType(
        "\(type).layout is the layout of \(layout.typeName): make it with "
          + "ObjectLayout(of: Self.self, references: …)")
    }
    return layout
  }
}

extension ObjectLayout: CustomStringConvertible {
  /// One line: the name, the size, and the offsets.
  public var description: String {
    if let problem { return problem.description }
    let ambiguousPart = ambiguous.isEmpty ? "" : ", ambiguous at \(ambiguous)"
    let references = isNoscan ? "no references" : "references at \(references)\(ambiguousPart)"
    let owned = hasDestroy ? ", fields that ARC manages" : ""
    return "\(typeName): \(size) bytes in a slot of \(slotSize), \(references)\(owned)"
  }
}
