// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A layout that is stated by hand.
//
// Key paths name the fields; the types of the fields say what is in them, by the same rules
// as a derived layout. So a key path to a nested struct stands for all references in it. Who
// states a layout takes over the duty to name every reference; where the type's fields can be
// read all the same, the list is checked against them, because a reference that the collector
// does not see is an object that is freed while in use.

internal import Heap

extension ObjectLayout {
  /// A layout with the references that the given key paths lead to.
  ///
  /// Each key path names a stored property, at any depth, that is a `HeapRef`, `HeapArray` or
  /// `HeapString`, an optional of one, or a value that contains such.
  ///
  /// - Precondition: every key path leads to a stored property that can hold a reference, and
  ///   no reference that can be found in the type's fields is left out.
  /// - Complexity: O(fields).
  public init<Object: HeapObject>(of type: Object.Type, references: [PartialKeyPath<Object>]) {
    guard TypeMetadata(type).kind == .struct, Self.canBeStated(type) else {
      do throws(HeapError) {
        self = try LayoutDerivation.derive(type)
      } catch {
        self.init(refused: type, because: error)
      }
      return
    }
    var offsets = ReferenceOffsets()
    for keyPath in references {
      switch Self.words(at: keyPath) {
      case .success(let words):
        offsets.precise += words.precise
        offsets.ambiguous += words.ambiguous
        if words.hasImmediates { offsets.hasImmediates = true }
      case .failure(let problem):
        broken("The layout of \(type) is wrong: \(problem.description)")
      }
    }
    offsets.normalize()
    if let derived = try? LayoutDerivation.offsets(in: type) {
      let stated = Set(offsets.precise + offsets.ambiguous)
      for offset in derived.precise + derived.ambiguous where !stated.contains(offset) {
        let path = LayoutDerivation.path(in: type, at: offset)
        broken("The layout of \(type) is wrong: it leaves out the reference \(path)")
      }
    }
    self.init(type: type, offsets: offsets)
  }

  /// Whether a layout may be stated for a struct. What ARC manages is not stated: the fields say it.
  private static func canBeStated(_ type: Any.Type) -> Bool {
    TypeMetadata(type).isTrivial || (try? LayoutDerivation.offsets(in: type)) != nil
  }

  private struct Problem: Error {
    var description: String
  }

  /// The reference words of the property that a key path leads to.
  private static func words<Object>(
    at keyPath: PartialKeyPath<Object>
  ) -> Result<ReferenceOffsets, Problem> {
    guard let offset = MemoryLayout<Object>.offset(of: keyPath) else {
      return .failure(Problem(description: "\(keyPath) is not a stored property"))
    }
    let value = Swift.type(of: keyPath).valueType
    let words: ReferenceOffsets
    do throws(HeapError) {
      words = try LayoutDerivation.offsets(in: value)
    } catch {
      return .failure(Problem(description: "\(keyPath): \(error)"))
    }
    guard !words.isEmpty else {
      return .failure(
        Problem(description: "\(keyPath) is of type \(value), which holds no reference"))
    }
    return .success(
      ReferenceOffsets(
        precise: words.precise.map { offset + $0 },
        ambiguous: words.ambiguous.map { offset + $0 }, hasImmediates: words.hasImmediates))
  }
}

extension LayoutDerivation {
  /// The name of the innermost stored property that covers the byte at `offset`, from the type
  /// on: `Node.inner.link`, `Table.slots[3]`.
  ///
  /// - Complexity: O(fields).
  package static func path(in type: Any.Type, at offset: Int) -> String {
    let path = fieldPath(in: type, at: offset)
    return path.isEmpty || path.hasPrefix("[") ? "\(type)\(path)" : "\(type).\(path)"
  }

  /// The same without the type: `inner.link`, `slots[3]`; empty for the value itself.
  ///
  /// An enum is not looked into.
  package static func fieldPath(in type: Any.Type, at offset: Int) -> String {
    var path = ""
    var type = type
    var offset = offset
    while !(type is any _HeapReferenceWord.Type) {
      if let array = type as? any InlineElements.Type, array.elementStride > 0 {
        path += "[\(offset / array.elementStride)]"
        offset %= array.elementStride
        type = array.elementType
        continue
      }
      let metadata = TypeMetadata(type)
      guard metadata.kind == .struct || metadata.kind == .tuple, metadata.module != "Swift",
        let field = metadata.fields.last(where: { field in
          field.offset <= offset && offset < field.offset + TypeMetadata(field.type).size
        })
      else { break }
      // A tuple's elements without a label are called ".0", ".1", ….
      path += field.name.hasPrefix(".") || path.isEmpty ? field.name : "." + field.name
      offset -= field.offset
      type = field.type
    }
    return path.hasPrefix(".") ? String(path.dropFirst()) : path
  }
}
