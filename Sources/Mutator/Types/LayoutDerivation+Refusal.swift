// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Saying why a type cannot be laid out.
//
// The walk that derives a layout only learns that something in the type is counted. This one
// goes down again, into the first part of each value that is not trivial, until it stands at
// the value that ARC manages itself, and names the way: `Node.payload.name`. It stops at
// types of the system's libraries, whose insides are nobody's business ("name" is a String,
// not a `_guts._object`).

extension LayoutDerivation {
  /// Modules whose types are named and not looked into.
  private static let opaqueModules: Set<Substring> = [
    "Swift", "Foundation", "FoundationEssentials", "FoundationInternationalization", "Dispatch",
    "Synchronization", "__C",
  ]

  /// Why a type that is not trivial is refused.
  static func refusal(of type: Any.Type) -> HeapError {
    let root = TypeMetadata(type)
    if let offender = firstOffender(in: type, path: root.name) {
      return .unsupportedType(
        "\(root.name) cannot be kept in the heap: the field \(offender.path) is "
          + "\(kind(of: offender.type)), \(reason(offender.type))")
    }
    return .unsupportedType("\(root.name) cannot be kept in the heap: it is \(reason(type))")
  }

  /// The innermost field that makes a type non-trivial, or nil when it is the type itself.
  private static func firstOffender(
    in type: Any.Type, path: String
  ) -> (path: String, type: Any.Type)? {
    let metadata = TypeMetadata(type)
    if let array = type as? any InlineElements.Type {
      let inner = path + "[0]"
      return firstOffender(in: array.elementType, path: inner) ?? (inner, array.elementType)
    }
    let parts: [(name: String, type: Any.Type)]
    switch metadata.kind {
    case .struct where !opaqueModules.contains(metadata.module), .tuple:
      // A tuple's elements without a label are called ".0", ".1", ….
      parts = metadata.fields.map { ($0.name.hasPrefix(".") ? $0.name : "." + $0.name, $0.type) }
    case .enum where metadata.module == "Swift" && metadata.payloads?.count == 1:
      // An optional: named by what it wraps, at the path of the optional itself.
      parts = (metadata.payloads ?? []).compactMap { payload in payload.type.map { ("", $0) } }
    case .enum:
      parts = (metadata.payloads ?? []).compactMap { payload in
        // The payload of an indirect case is boxed; the type of the payload is not the reason.
        payload.isIndirect ? nil : payload.type.map { ("." + payload.caseName, $0) }
      }
    default:
      return nil
    }
    for part in parts where !TypeMetadata(part.type).isTrivial {
      let inner = path + part.name
      if let offender = firstOffender(in: part.type, path: inner) { return offender }
      return part.name.isEmpty ? nil : (inner, part.type)
    }
    return nil
  }

  /// What a field of a type is: `of type String`.
  private static func kind(of type: Any.Type) -> String {
    let metadata = TypeMetadata(type)
    return switch metadata.kind {
    case .class: "an instance of the class \(metadata.name)"
    case .function: "a closure of type \(metadata.name)"
    case .existential: "the existential \(metadata.name)"
    default: "of type \(metadata.name)"
    }
  }

  /// What is wrong with a type that ARC manages, and what to use instead.
  private static func reason(_ type: Any.Type) -> String {
    if let owner = wrapped(type) as? any OwnedByARC.Type {
      return "managed by ARC: use \(owner.advice) instead"
    }
    if TypeMetadata(type).payloads?.contains(where: \.isIndirect) == true {
      return "an indirect enum, whose payloads ARC manages: use HeapRef for the recursive part "
        + "instead"
    }
    return "managed by ARC, and such values are not supported yet: keep it outside the heap, and "
      + "an index or an Unmanaged pointer here"
  }

  /// The type inside an optional.
  private static func wrapped(_ type: Any.Type) -> Any.Type {
    let metadata = TypeMetadata(type)
    guard metadata.kind == .enum, metadata.module == "Swift", let payloads = metadata.payloads,
      payloads.count == 1, let payload = payloads[0].type
    else { return type }
    return wrapped(payload)
  }
}
