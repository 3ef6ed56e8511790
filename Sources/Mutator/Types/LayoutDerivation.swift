// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Finding the references in a type.
//
// A walk over the fields of a type, outermost first, that ends with two lists of byte
// offsets. What a field becomes:
//
//   reference, its optional, a HeapValue       a precise offset
//   nested struct, tuple, InlineArray          flattened
//   enum or optional whose payload can hold    the payload's reference words, as ambiguous
//     a reference                                offsets
//   pointer, number, any other trivial value   nothing
//   String, class instance, closure, …         nothing; destroyed when the object has died, and
//     (what ARC manages)                         refused where a reference can be seen in it
//
// Why the payload's words and no others: the payload of a case lies at offset 0 of the enum
// and the tag beside it or in bits that no payload uses, and a heap reference has no unused
// bits. So every reference in the enum is at an offset where some case has one. What else
// may stand there is any word at all, hence ambiguous: looked up as a word of a stack is.
// Where the payload's type cannot be found out, every word of the enum is ambiguous.
//
// A type is trivial or it is not; a trivial type cannot contain what ARC manages (an
// `unowned(unsafe)` reference counts as a pointer). If it is not, another walk goes first, and
// refuses what cannot be kept (LayoutDerivation+Refusal). So this one refuses two things only. One is
// a struct whose field metadata was stripped: its references cannot be known, and "none" would be a
// guess. The other is a nested object that states the layout of another type.
//
// Results, and refusals, are kept for ever, by metatype. Guarded by: the lock around them.
// No lock is held while walking: a nested type's own `layout` may be user code.

internal import Heap

/// Offsets of the reference words in a value.
struct ReferenceOffsets: Hashable, Sendable {
  /// Words that hold a reference, zero, or an immediate; ascending, each once.
  var precise: [Int] = []
  /// Words that may hold a reference or anything else; ascending, none that is precise.
  var ambiguous: [Int] = []
  /// A precise word may be an immediate.
  var hasImmediates = false

  var isEmpty: Bool { precise.isEmpty && ambiguous.isEmpty }

  /// Puts the offsets in order.
  mutating func normalize() {
    precise = Set(precise).sorted()
    ambiguous = Set(ambiguous).subtracting(precise).sorted()
  }
}

/// Derives layouts from Swift's field metadata.
package enum LayoutDerivation {
  /// Objects and values may be so large, in bytes.
  ///
  /// Offsets are kept in 32 bits.
  package static let largestSize = 1 << 31

  /// Alignments up to a page can be kept: every span begins at one.
  package static let largestAlignment = 8192

  // MARK: - Results

  private struct Known {
    var layouts: [ObjectIdentifier: ObjectLayout] = [:]
    var offsets: [ObjectIdentifier: Result<ReferenceOffsets, HeapError>] = [:]
  }

  private static let known = HeapLock(Known(), rank: .types)

  /// The layout of a struct, from its fields.
  ///
  /// - Throws: `HeapError.unsupportedType` when the type is not a struct, holds references where
  ///   only ARC looks, or is too large or too strictly aligned.
  /// - Complexity: O(fields) the first time, a dictionary look-up afterwards.
  package static func derive(_ type: Any.Type) throws(HeapError) -> ObjectLayout {
    let key = ObjectIdentifier(type)
    if let layout = known.withLock({ $0.layouts[key] }) { return layout }
    let metadata = TypeMetadata(type)
    guard metadata.kind == .struct else {
      let kind =
        switch metadata.kind {
        case .class: "a class"
        case .enum: "an enum"
        default: "none"
        }
      throw .unsupportedType(
        "\(metadata.name) cannot be a heap object: it must be a struct, and this is \(kind)")
    }
    let layout = ObjectLayout(type: type, offsets: try offsets(in: type))
    known.withLock { $0.layouts[key] = layout }
    return layout
  }

  /// The reference words in a value of any type, from its fields alone.
  static func offsets(in type: Any.Type) throws(HeapError) -> ReferenceOffsets {
    let key = ObjectIdentifier(type)
    if let result = known.withLock({ $0.offsets[key] }) { return try result.get() }
    let result = Result { () throws(HeapError) in
      let metadata = TypeMetadata(type)
      try checkMeasures(metadata)
      try checkOwned(type)
      var walk = LayoutWalk(root: type)
      try walk.visit(type, at: 0)
      walk.found.normalize()
      return walk.found
    }
    known.withLock { $0.offsets[key] = result }
    return try result.get()
  }

  private static func checkMeasures(_ metadata: TypeMetadata) throws(HeapError) {
    guard metadata.alignment <= largestAlignment else {
      throw .unsupportedType(
        "\(metadata.name) has an alignment of \(metadata.alignment) bytes; "
          + "the heap aligns to \(largestAlignment) bytes at most")
    }
    guard metadata.stride < largestSize else {
      throw .unsupportedType(
        "\(metadata.name) has \(metadata.size) bytes; a value in the heap may have "
          + "\(largestSize) at most: use a HeapArray")
    }
  }
}

/// One walk over the fields of a type.
struct LayoutWalk {
  let root: Any.Type
  var found = ReferenceOffsets()

  init(root: Any.Type) { self.root = root }

  /// Adds the reference words of a field of the given type at an offset.
  mutating func visit(_ type: Any.Type, at offset: Int) throws(HeapError) {
    let metadata = TypeMetadata(type)
    if type is any _HeapReferenceWord.Type {
      guard metadata.size == 8, metadata.alignment == 8 else {
        throw .unsupportedType(
          "\(metadata.name) conforms to _HeapReferenceWord, which is for the references of the heap "
            + "alone: remove the conformance")
      }
      found.precise.append(offset)
      if type == HeapValue.self { found.hasImmediates = true }
      return
    }
    if metadata.size < 8 { return }  // no reference fits
    if let elements = type as? any InlineElements.Type {
      try visit(elements, at: offset)
      return
    }
    if type != root, metadata.kind == .struct, let object = type as? any HeapObject.Type {
      let layout = try Self.layout(of: object)
      add(layout.offsets, at: offset)
      return
    }
    switch metadata.kind {
    case .struct where LayoutDerivation.isOpaque(metadata):
      return  // What ARC manages; no reference that can be seen.
    case .struct where !metadata.hasFieldMetadata && metadata.module != "__C":
      throw .unsupportedType(
        "\(metadata.name) was compiled without reflection metadata, so its references are not "
          + "known: build its module without -disable-reflection-metadata, or state its layout "
          + "by hand")
    case .struct, .tuple:
      for field in metadata.fields { try visit(field.type, at: offset + field.offset) }
    case .enum:
      try visitPayloads(of: metadata, at: offset)
    case .class, .function, .existential, .metatype, .builtin:
      return  // Pointers, which nobody counts or ARC does.
    case .unknown:
      addAllWords(of: metadata, at: offset)
    }
  }

  /// The layout that a nested object states, which must be its own.
  private static func layout<Object: HeapObject>(
    of type: Object.Type
  ) throws(HeapError) -> ObjectLayout { try ObjectLayout.checked(of: type) }

  private mutating func visit(_ array: any InlineElements.Type, at offset: Int) throws(HeapError) {
    var walk = LayoutWalk(root: root)
    try walk.visit(array.elementType, at: 0)
    guard !walk.found.isEmpty else { return }
    for index in 0..<array.elementCount {
      add(walk.found, at: offset + index * array.elementStride)
    }
  }

  private mutating func visitPayloads(
    of metadata: TypeMetadata, at offset: Int
  ) throws(HeapError) {
    guard let payloads = metadata.payloads else {
      if metadata.module != "__C" { addAllWords(of: metadata, at: offset) }
      return
    }
    // The payload of an indirect case lies in a box, and no reference can be seen in it.
    for payload in payloads where !payload.isIndirect {
      guard let type = payload.type else {
        addAllWords(of: metadata, at: offset)
        return
      }
      var walk = LayoutWalk(root: root)
      try walk.visit(type, at: 0)
      add(
        ReferenceOffsets(ambiguous: walk.found.precise + walk.found.ambiguous), at: offset)
    }
  }

  private mutating func add(_ offsets: ReferenceOffsets, at offset: Int) {
    for precise in offsets.precise { found.precise.append(offset + precise) }
    for ambiguous in offsets.ambiguous { found.ambiguous.append(offset + ambiguous) }
    if offsets.hasImmediates { found.hasImmediates = true }
  }

  private mutating func addAllWords(of metadata: TypeMetadata, at offset: Int) {
    let first = (offset + 7) & ~7
    for word in stride(from: first, through: offset + metadata.size - 8, by: 8) {
      found.ambiguous.append(word)
    }
  }
}
