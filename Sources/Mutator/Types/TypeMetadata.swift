// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the Swift runtime knows about a type.
//
// Fields of structs and tuples come from `_forEachField`, the standard library's own
// reflection entry. Payloads of enums have no such entry and are read from the enum's field
// descriptor, whose format is part of the Swift ABI (docs/ABI/TypeMetadata.rst and
// include/swift/RemoteInspection/Records.h in the compiler's repository):
//
//   metadata     word 0: kind   word 1: type descriptor   word 2…: generic arguments
//   descriptor   int32 at 16: relative address of the field descriptor, 0 if there is none
//   fields       uint16 at 10: size of a record   uint32 at 12: number of records
//                from 16: records of { uint32 flags, relative type name, relative name }
//   generics     in the descriptor, at 28 (of a class, at 44): uint16 at 8: number of parameters
//                from 16: a byte for each of them, its kind and 0x80 if the metadata has it
//   class        word 1: superclass   word 5: descriptor, with the number of words before the end
//                of the metadata at 28, and of those of this class at 32
//   witnesses    the word before the metadata: address of the value witness table; functions of
//                an enum at 88 (its tag) and 96 (its payload, projected in place); flags at 80
//
// A record's type name is mangled, with symbolic references inside; the runtime's own
// `swift_getTypeByMangledNameInContext` turns it into a type. Cases with a payload come
// before those without. A program can be built without this metadata
// (`-disable-reflection-metadata`): then there is no field descriptor, which is told apart
// from a type without fields, because "no fields known" must not be read as "no references".
//
// Everything here reads immutable memory of the program's image.

@_spi(Reflection) internal import Swift

/// A field of a struct or an element of a tuple.
struct FieldDescription {
  var name: String
  /// Bytes from the start of the value.
  var offset: Int
  var type: Any.Type
}

/// The payload of an enum's case.
struct PayloadDescription {
  var caseName: String
  /// The number of the case: cases with a payload come first, in order.
  var tag: Int
  /// Nil where the runtime cannot name the type.
  var type: Any.Type?
  /// The enum holds a counted box with the payload in it.
  var isIndirect: Bool
}

/// A type, as its metadata describes it.
@safe struct TypeMetadata: @unchecked Sendable {
  // Sendable: metadata is immutable.

  enum Kind {
    case `struct`, `enum`, tuple, `class`, function, existential, metatype, builtin, unknown
  }

  let type: Any.Type
  private let words: UnsafePointer<UInt>

  init(_ type: Any.Type) {
    self.type = type
    // SAFETY: a metatype is the address of its metadata.
    unsafe words = unsafeBitCast(type, to: UnsafePointer<UInt>.self)
    measures = Self.measures(of: type)
  }

  /// Kinds by number: include/swift/ABI/MetadataKind.def.
  ///
  /// A class that has no Objective-C part has kind 0; any number above 0x7ff is an isa pointer.
  var kind: Kind {
    switch unsafe words[0] {
    case 0x200: .struct
    case 0x201, 0x202: .enum  // 0x202: Optional
    case 0x300: .builtin
    case 0x301: .tuple
    case 0x302: .function
    case 0x303: .existential
    case 0x304, 0x306: .metatype  // 0x306: of an existential
    case 0, 0x203, 0x305: .class
    case let other: other > 0x7ff ? .class : .unknown
    }
  }

  // MARK: - Measures

  var size: Int { measures.size }
  var stride: Int { measures.stride }
  var alignment: Int { measures.alignment }

  /// Copying it is copying its bytes: nothing in it is counted.
  var isTrivial: Bool { measures.isTrivial }

  /// A value may be moved by moving its bytes.
  var isMovable: Bool {
    // SAFETY: as in `witness`; every type has flags there.
    let table = unsafe UnsafeRawPointer(bitPattern: (words - 1).pointee).unsafelyUnwrapped
    return unsafe table.load(fromByteOffset: 80, as: UInt32.self) & 0x10_0000 == 0
  }

  private let measures: Measures

  private struct Measures {
    var size: Int
    var stride: Int
    var alignment: Int
    var isTrivial: Bool
  }

  private static func measures(of type: Any.Type) -> Measures {
    func measure<T>(_: T.Type) -> Measures {
      Measures(
        size: MemoryLayout<T>.size, stride: MemoryLayout<T>.stride,
        alignment: MemoryLayout<T>.alignment, isTrivial: _isPOD(T.self))
    }
    return _openExistential(type, do: measure)
  }

  // MARK: - Names

  /// The name as it is written in the type's own module.
  var name: String { "\(type)" }

  /// The module that declares the type; "__C" for what the Clang importer brought in.
  var module: Substring {
    _typeName(type, qualified: true).prefix { $0 != "." && $0 != "<" }
  }

  // MARK: - Fields

  /// The type was compiled with its field metadata.
  var hasFieldMetadata: Bool { unsafe kind == .tuple || fieldDescriptor != nil }

  /// Stored properties of a struct or elements of a tuple, in order.
  var fields: [FieldDescription] {
    var fields: [FieldDescription] = []
    unsafe _forEachField(of: type) { name, offset, type, _ in
      fields.append(
        FieldDescription(name: unsafe String(cString: name), offset: offset, type: type))
      return true
    }
    return fields
  }

  /// The cases of an enum that have a payload; nil where there is no metadata to read.
  var payloads: [PayloadDescription]? {
    guard kind == .enum, let descriptor = unsafe fieldDescriptor else { return nil }
    let recordSize = unsafe Int(descriptor.load(fromByteOffset: 10, as: UInt16.self))
    let count = unsafe Int(descriptor.load(fromByteOffset: 12, as: UInt32.self))
    guard recordSize >= 12 else { return nil }
    var payloads: [PayloadDescription] = []
    for index in 0..<count {
      let record = unsafe descriptor + 16 + index * recordSize
      guard let typeName = unsafe Self.relative(record + 4) else { continue }  // no payload
      let name = unsafe Self.relative(record + 8).map {
        unsafe String(cString: $0.assumingMemoryBound(to: CChar.self))
      }
      payloads.append(
        PayloadDescription(
          caseName: name ?? "number \(index)", tag: index, type: unsafe resolve(typeName),
          isIndirect: unsafe record.load(as: UInt32.self) & 1 != 0))
    }
    return payloads
  }

  /// The enum is the standard library's `Optional`.
  var isOptional: Bool { unsafe words[0] == 0x202 }

  // MARK: - Classes

  /// The class and those that it inherits from.
  var ancestry: [TypeMetadata] {
    var found: [TypeMetadata] = []
    var next: AnyClass? = type as? AnyClass
    while let type = next {
      found.append(TypeMetadata(type))
      next = _getSuperclass(type)
    }
    return found
  }

  /// Stored properties of a class, without inherited ones.
  var properties: [FieldDescription] {
    var fields: [FieldDescription] = []
    // 1: of a class.
    unsafe _forEachField(of: type, options: _EachFieldOptions(rawValue: 1)) {
      name, offset, type, _ in
      fields.append(
        FieldDescription(name: unsafe String(cString: name), offset: offset, type: type))
      return true
    }
    return fields
  }

  // MARK: - Generic arguments

  /// The types that the type is generic over; none where the metadata does not say.
  var genericArguments: [Any.Type] {
    guard let (parameters, arguments) = unsafe genericWords else { return [] }
    let count = unsafe Int(parameters.load(fromByteOffset: 8, as: UInt16.self))
    var types: [Any.Type] = []
    var word = 0
    for index in 0..<count {
      let parameter = unsafe parameters.load(fromByteOffset: 16 + index, as: UInt8.self)
      // Bit 7: the metadata has it. Of packs (kind 1) there may be any number.
      guard parameter & 0x80 != 0 else { continue }
      let kind = parameter & 0x3f
      guard kind != 1 else { return [] }
      if kind == 0 {
        types.append(unsafe unsafeBitCast(arguments[word], to: Any.Type.self))
      }
      word += 1
    }
    return types
  }

  /// Where the descriptor of the generic parameters is, and where the arguments are.
  private var genericWords: (parameters: UnsafeRawPointer, arguments: UnsafePointer<UInt>)? {
    switch kind {
    case .struct, .enum:
      let flags = unsafe descriptor.load(as: UInt32.self)
      guard flags & 0x80 != 0 else { return nil }
      return unsafe (descriptor + 28, words + 2)
    case .class:
      guard let descriptor = unsafe UnsafeRawPointer(bitPattern: words[5]) else { return nil }
      let flags = unsafe descriptor.load(as: UInt32.self)
      // 0x3000_0000: where the words of the class lie is known at run time only.
      guard flags & 0x80 != 0, flags & 0x3000_0000 == 0 else { return nil }
      let end = unsafe Int(descriptor.load(fromByteOffset: 28, as: UInt32.self))
      let own = unsafe Int(descriptor.load(fromByteOffset: 32, as: UInt32.self))
      return unsafe (descriptor + 44, words + (end - own))
    default:
      return nil
    }
  }

  // MARK: - Enum values

  /// The number of the case that an enum value has, as in `PayloadDescription.tag`.
  func enumTag(of value: UnsafeRawPointer) -> Int {
    typealias GetTag = @convention(c) (UnsafeRawPointer, UnsafeRawPointer) -> UInt32
    let getTag = unsafe unsafeBitCast(witness(at: 88), to: GetTag.self)
    return Int(unsafe getTag(value, UnsafeRawPointer(words)))
  }

  /// Turns an enum value into its payload, which lies at the same place.
  func projectPayload(_ value: UnsafeMutableRawPointer) {
    typealias Project = @convention(c) (UnsafeMutableRawPointer, UnsafeRawPointer) -> Void
    let project = unsafe unsafeBitCast(witness(at: 96), to: Project.self)
    unsafe project(value, UnsafeRawPointer(words))
  }

  /// A function of the type's value witness table, at a byte offset.
  private func witness(at offset: Int) -> UnsafeRawPointer {
    // SAFETY: the word before the metadata is the table's address. Every enum has enum witnesses.
    let table = unsafe UnsafeRawPointer(bitPattern: (words - 1).pointee).unsafelyUnwrapped
    return unsafe table.load(fromByteOffset: offset, as: UnsafeRawPointer.self)
  }

  private var descriptor: UnsafeRawPointer {
    // SAFETY: word 1 of a struct's or enum's metadata is its descriptor, never zero.
    unsafe UnsafeRawPointer(bitPattern: words[1]).unsafelyUnwrapped
  }

  private var fieldDescriptor: UnsafeRawPointer? {
    guard kind == .struct || kind == .enum else { return nil }
    return unsafe Self.relative(descriptor + 16)
  }

  /// The address that the 32-bit offset at `field`, relative to `field`, leads to.
  private static func relative(_ field: UnsafeRawPointer) -> UnsafeRawPointer? {
    let offset = unsafe field.load(as: Int32.self)
    return unsafe offset == 0 ? nil : field + Int(offset)
  }

  /// The type that a mangled name in this type's metadata stands for.
  private func resolve(_ name: UnsafeRawPointer) -> Any.Type? {
    // A name ends with a zero byte, but the symbolic references in it may contain zeroes:
    // 0x01…0x17 is followed by 4 bytes, 0x18…0x1f by 8.
    var length = 0
    while true {
      let byte = unsafe name.load(fromByteOffset: length, as: UInt8.self)
      if byte == 0 { break }
      length += byte <= 0x17 ? 5 : byte <= 0x1f ? 9 : 1
    }
    return unsafe _getTypeByMangledNameInContext(
      name.assumingMemoryBound(to: UInt8.self), UInt(length),
      genericContext: descriptor, genericArguments: UnsafeRawPointer(words + 2))
  }
}
