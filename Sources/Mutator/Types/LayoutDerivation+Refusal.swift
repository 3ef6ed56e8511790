// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What ARC manages: what may be a field, and saying why something may not.
//
// A field that ARC manages is destroyed after its object has died (Destroyer). The collector does not
// look into it. A reference in there would be a number: what it leads to would be freed while in use.
// So a second walk goes down into those parts of a type that are not trivial, and refuses a field by
// its name as far as a reference in it can be seen:
//
//   String, Data, … (the system's types)     what they are generic over can hold a reference
//   class instance                           the same; or a stored property of the class, or of one
//                                              that it inherits from, can
//   indirect case of an enum                 its payload can
//   weak reference                           always: its bytes cannot be moved
//   closure, existential                     cannot be seen, and is taken
//
// Of a class only its own properties are looked at, not those of the instances that they lead to. The
// heap's own classes (HeapRoot) hold references where the collector looks, and are no matter.
//
// An element of an array is never destroyed by itself, so nothing that ARC manages may be one.

extension LayoutDerivation {
  /// Modules whose types are named and not looked into.
  private static let opaqueModules: Set<Substring> = [
    "Swift", "Foundation", "FoundationEssentials", "FoundationInternationalization", "Dispatch",
    "Synchronization", "__C",
  ]

  /// A value of a type that ARC manages is one thing, and its parts are nobody's business.
  static func isOpaque(_ metadata: TypeMetadata) -> Bool {
    metadata.kind == .struct && !metadata.isTrivial && opaqueModules.contains(metadata.module)
  }

  // MARK: - Fields

  /// Refuses a type with a field that ARC manages if a reference can be seen in that field.
  static func checkOwned(_ type: Any.Type) throws(HeapError) {
    let metadata = TypeMetadata(type)
    guard !metadata.isTrivial else { return }
    guard metadata.isMovable else { throw refusal(ofImmovable: type) }
    try checkOwned(type, at: metadata.name, in: metadata)
  }

  private static func checkOwned(
    _ type: Any.Type, at path: String, in root: TypeMetadata
  ) throws(HeapError) {
    let metadata = TypeMetadata(type)
    guard !metadata.isTrivial else { return }
    for part in parts(of: type) { try checkOwned(part.type, at: path + part.name, in: root) }
    guard let hidden = hiddenReference(in: type) else { return }
    let field = path == root.name ? "it" : "the field \(path)"
    throw .unsupportedType(
      "\(root.name) cannot be kept in the heap: \(field) is \(kind(of: type)), managed by ARC, and the "
        + "collector does not look into it for \(hidden): \(advice(type))")
  }

  /// The parts of a value that lie in it, with their names.
  private static func parts(of type: Any.Type) -> [(name: String, type: Any.Type)] {
    let metadata = TypeMetadata(type)
    if let array = type as? any InlineElements.Type { return [("[0]", array.elementType)] }
    switch metadata.kind {
    case .struct where !isOpaque(metadata), .tuple:
      // A tuple's elements without a label are called ".0", ".1", ….
      return metadata.fields.map { ($0.name.hasPrefix(".") ? $0.name : "." + $0.name, $0.type) }
    case .enum:
      // An optional is named by what it wraps, at the path of the optional itself. The payload of an
      // indirect case lies elsewhere.
      return (metadata.payloads ?? []).compactMap { payload in
        payload.isIndirect
          ? nil : payload.type.map { (metadata.isOptional ? "" : "." + payload.caseName, $0) }
      }
    default:
      return []
    }
  }

  /// A type of references that can be seen behind a value, where the collector does not look.
  private static func hiddenReference(in type: Any.Type) -> String? {
    let metadata = TypeMetadata(type)
    switch metadata.kind {
    case .struct where isOpaque(metadata):
      return metadata.genericArguments.lazy.compactMap { reference(in: $0) }.first
    case .enum:
      let boxed = (metadata.payloads ?? []).filter(\.isIndirect).compactMap(\.type)
      return boxed.lazy.compactMap { reference(in: $0) }.first
    case .class:
      return metadata.ancestry.lazy.compactMap { hiddenReference(inClass: $0) }.first
    default:
      return nil
    }
  }

  private static func hiddenReference(inClass metadata: TypeMetadata) -> String? {
    guard metadata.module != ownModule else { return nil }
    for argument in metadata.genericArguments {
      if let found = reference(in: argument) { return found }
    }
    guard !opaqueModules.contains(metadata.module) else { return nil }
    for property in metadata.properties {
      if let found = reference(in: property.type) { return "\(found) in its \(property.name)" }
    }
    return nil
  }

  private static let ownModule = TypeMetadata(ManagedHeap.self).module

  // MARK: - References

  /// The first type of references that a value of a type can hold, in itself or in a container; nil:
  /// none that can be seen.
  private static func reference(in type: Any.Type) -> String? {
    var seen: Set<ObjectIdentifier> = []
    return reference(in: type, &seen)
  }

  private static func reference(
    in type: Any.Type, _ seen: inout Set<ObjectIdentifier>
  ) -> String? {
    guard seen.insert(ObjectIdentifier(type)).inserted else { return nil }
    let metadata = TypeMetadata(type)
    if type is any _HeapReferenceWord.Type { return metadata.name }
    if let array = type as? any InlineElements.Type {
      return reference(in: array.elementType, &seen)
    }
    let inner: [Any.Type]
    switch metadata.kind {
    case .struct where isOpaque(metadata): inner = metadata.genericArguments
    case .struct, .tuple: inner = metadata.fields.map(\.type)
    case .enum: inner = (metadata.payloads ?? []).compactMap(\.type)
    case .class where metadata.module != ownModule: inner = metadata.genericArguments
    default: return nil
    }
    for type in inner {
      if let found = reference(in: type, &seen) { return found }
    }
    return nil
  }

  // MARK: - Elements

  /// Why a type that is not trivial cannot be an element, or a part of an object that is no field.
  static func refusal(ofElement type: Any.Type) -> HeapError {
    let root = TypeMetadata(type)
    let rest =
      ", which ARC manages, and such a value is destroyed in the fields of an object only: put it "
      + "into an object and a HeapRef to that here"
    if let offender = firstOffender(in: type, path: root.name) {
      return .unsupportedType(
        "\(root.name) cannot be an element in the heap: its field \(offender.path) is "
          + "\(kind(of: offender.type))\(rest)\(alternative(offender.type))")
    }
    return .unsupportedType(
      "\(root.name) cannot be an element in the heap: it is \(kind(of: type, isNamed: true))\(rest)"
        + alternative(type))
  }

  /// The innermost field that makes a type non-trivial, or nil when it is the type itself.
  private static func firstOffender(
    in type: Any.Type, path: String
  ) -> (path: String, type: Any.Type)? {
    for part in parts(of: type) where !TypeMetadata(part.type).isTrivial {
      let inner = path + part.name
      if let offender = firstOffender(in: part.type, path: inner) { return offender }
      return part.name.isEmpty ? nil : (inner, part.type)
    }
    return nil
  }

  // MARK: - Immovable values

  private static func refusal(ofImmovable type: Any.Type) -> HeapError {
    let root = TypeMetadata(type)
    let field = immovable(in: type, path: root.name)
    return .unsupportedType(
      "\(root.name) cannot be kept in the heap: \(field), whose bytes cannot be moved: put it into a "
        + "class, and an instance of that here")
  }

  /// The field whose bytes cannot be moved, as the beginning of a sentence.
  private static func immovable(in type: Any.Type, path: String) -> String {
    let parts = parts(of: type)
    if let part = parts.first(where: { !TypeMetadata($0.type).isMovable }) {
      return immovable(in: part.type, path: path + part.name)
    }
    // A weak reference is a property of the struct, and its type does not say so.
    let optionals = parts.filter { part in
      TypeMetadata(part.type).isOptional && TypeMetadata(wrapped(part.type)).kind == .class
    }
    if optionals.count == 1 { return "the field \(path + optionals[0].name) is a weak reference" }
    return optionals.isEmpty
      ? "\(path) is of type \(TypeMetadata(type).name)" : "\(path) has a weak reference"
  }

  // MARK: - Words

  /// What a field of a type is: `of type String`.
  private static func kind(of type: Any.Type, isNamed: Bool = false) -> String {
    let metadata = TypeMetadata(type)
    return switch metadata.kind {
    case .class: isNamed ? "a class" : "an instance of the class \(metadata.name)"
    case .function: isNamed ? "a closure" : "a closure of type \(metadata.name)"
    case .existential: isNamed ? "an existential" : "the existential \(metadata.name)"
    default: isNamed ? "a value" : "of type \(metadata.name)"
    }
  }

  /// What to do about references behind a field, as the end of a sentence.
  private static func advice(_ type: Any.Type) -> String {
    if let owner = wrapped(type) as? any OwnedByARC.Type { return "use \(owner.advice) instead" }
    if TypeMetadata(type).payloads?.contains(where: \.isIndirect) == true {
      return "use HeapRef for the recursive part instead of an indirect case"
    }
    return "use HeapRoot for a reference in there, or a HeapRef to an object in the heap instead"
  }

  /// What else there is for an element of a type.
  private static func alternative(_ type: Any.Type) -> String {
    guard let owner = wrapped(type) as? any OwnedByARC.Type else { return "" }
    return ", or use \(owner.advice) instead"
  }

  /// The type inside an optional.
  private static func wrapped(_ type: Any.Type) -> Any.Type {
    let metadata = TypeMetadata(type)
    guard metadata.isOptional, let payloads = metadata.payloads, payloads.count == 1,
      let payload = payloads[0].type
    else { return type }
    return wrapped(payload)
  }
}
