// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Every reference in a value, exactly, with the way to it.
//
// A layout has the offsets that the collector needs. Those of an enum's payload are ambiguous: a
// reference is there in some cases and something else in others, and the collector treats the
// word as it treats a word of a stack. Checked mode wants to know better, and it wants to say
// where in the value a reference is. So it asks the enum itself which case it has.
//
//     struct Frame { var value: Value; var edges: InlineArray<4, HeapRef<Frame>?> }
//     enum Value { case number(Int), pair(HeapRef<Frame>, Int) }
//
//     plan of Frame:   value   choice     number: nothing
//                                         pair: plan of the tuple: .0 reference
//                      edges   repeated   4 times, plan of the element: reference
//
//     a walk finds:    "value.case pair.0"   "edges[0]"   "edges[1]" …
//
// The tag of an enum and its payload come from the enum's value witnesses, which the compiler
// emits for each enum. A payload is projected from a copy, because projecting destroys: the
// outer enum may keep its tag in bits that the inner one does not use.
//
// A plan is made once a type, and is immutable and never freed. A part of a value that holds no
// reference has no part in the plan.
//
// Used by checked mode alone: a walk takes some hundred nanoseconds.

internal import Heap

/// Where the references are in the values of a type.
package final class ReferencePlan: Sendable {
  /// A part of a value.
  struct Part: Sendable {
    /// The name of the field, or of the tuple's element.
    var name: String
    /// Bytes from the start of the value.
    package var offset: Int
    var content: Content
  }

  enum Content: Sendable {
    case reference(ReferenceTarget?)
    case nested(ReferencePlan)
    case repeated(ReferencePlan, count: Int, stride: Int)
    case choice(Choice)
  }

  /// An enum, or an optional of something that is not a reference.
  struct Choice: Sendable {
    var type: TypeMetadata
    /// By the tag of the case.
    ///
    /// Cases without references at the end are left out.
    var cases: [(name: String, plan: ReferencePlan)]
  }

  let parts: [Part]

  private init(_ parts: [Part]) { self.parts = parts }

  package var isEmpty: Bool { parts.isEmpty }

  // MARK: - Plans by type

  private static let plans = MetatypeTable()

  /// The plan of a type that can be kept in the heap.
  package static func of(_ type: Any.Type) -> ReferencePlan {
    let key = UInt(bitPattern: ObjectIdentifier(type))
    let address = plans.find(key) ?? keep(make(type), key)
    // SAFETY: plans in the table are never released.
    let object = unsafe UnsafeRawPointer(bitPattern: address).unsafelyUnwrapped
    return unsafe Unmanaged<ReferencePlan>.fromOpaque(object).takeUnretainedValue()
  }

  private static func keep(_ plan: ReferencePlan, _ key: UInt) -> UInt {
    plans.find(key) { UInt(bitPattern: unsafe Unmanaged.passRetained(plan).toOpaque()) }
  }

  private static func make(_ type: Any.Type) -> ReferencePlan {
    if type is any _HeapReferenceWord.Type {
      let target = (type as? any TypedReference.Type)?.target
      return ReferencePlan([Part(name: "", offset: 0, content: .reference(target))])
    }
    let metadata = TypeMetadata(type)
    guard metadata.size >= 8 else { return ReferencePlan([]) }  // no reference fits
    if let array = type as? any InlineElements.Type {
      let element = of(array.elementType)
      guard !element.isEmpty else { return ReferencePlan([]) }
      let content = Content.repeated(
        element, count: array.elementCount, stride: array.elementStride)
      return ReferencePlan([Part(name: "", offset: 0, content: content)])
    }
    switch metadata.kind {
    case .struct where !metadata.hasFieldMetadata:
      return ReferencePlan(stated(type))
    case .struct where LayoutDerivation.isOpaque(metadata):
      return ReferencePlan([])  // What ARC manages.
    case .struct, .tuple:
      return ReferencePlan(metadata.fields.compactMap(part))
    case .enum:
      return ReferencePlan(choice(metadata).map { [$0] } ?? [])
    case .class, .function, .existential, .metatype, .builtin, .unknown:
      return ReferencePlan([])
    }
  }

  private static func part(_ field: FieldDescription) -> Part? {
    let plan = of(field.type)
    // A plan of one part without a name (a reference, an array, an enum) is that part.
    if plan.parts.count == 1, plan.parts[0].name.isEmpty {
      return Part(name: field.name, offset: field.offset, content: plan.parts[0].content)
    }
    return plan.isEmpty ? nil : Part(name: field.name, offset: field.offset, content: .nested(plan))
  }

  private static func choice(_ metadata: TypeMetadata) -> Part? {
    var cases: [(String, ReferencePlan)] = []
    // The payload of an indirect case lies in a box, and is no reference.
    for payload in metadata.payloads ?? [] where !payload.isIndirect {
      // The payload's record is where the tag says.
      while cases.count < payload.tag { cases.append(("", ReferencePlan([]))) }
      cases.append((payload.caseName, payload.type.map { of($0) } ?? ReferencePlan([])))
    }
    guard cases.contains(where: { !$0.1.isEmpty }) else { return nil }
    return Part(name: "", offset: 0, content: .choice(Choice(type: metadata, cases: cases)))
  }

  /// The references that a type states by hand whose fields cannot be read.
  private static func stated(_ type: Any.Type) -> [Part] {
    guard let object = type as? any HeapObject.Type else { return [] }
    return object.layout.references.map {
      Part(name: "at byte \($0)", offset: $0, content: .reference(nil))
    }
  }
}

// MARK: - Walking

/// The way from a value to a reference in it.
package struct ReferencePath: CustomStringConvertible {
  package enum Step {
    case field(String)
    case index(Int)
    case inCase(String)
  }

  package fileprivate(set) var steps: [Step] = []

  /// `edges[2]`, `value.case pair.0`; empty for the value itself.
  package var description: String { Self.text(of: steps[...]) }

  /// The part of the way that lies inside the outermost enum; empty if there is none.
  ///
  /// A layout has a name for the rest: the name of the enum's field.
  package var insideEnum: String {
    let start = steps.firstIndex { step in
      if case .inCase = step { return true } else { return false }
    }
    guard let start else { return "" }
    let text = Self.text(of: steps[start...])
    return text.isEmpty || text.hasPrefix("[") ? text : "." + text
  }

  private static func text(of steps: ArraySlice<Step>) -> String {
    var text = ""
    for step in steps {
      switch step {
      case .index(let index): text += "[\(index)]"
      case .field(let name), .inCase(let name):
        if name.isEmpty { continue }
        // A tuple's elements without a label are called ".0", ".1", ….
        text += text.isEmpty || name.hasPrefix(".") ? name : "." + name
      }
    }
    return text.hasPrefix(".") ? String(text.dropFirst()) : text
  }
}

extension ReferencePlan {
  /// A reference that a walk has found.
  package struct Found {
    /// The reference, 0, or an immediate.
    package var word: UInt
    /// Bytes from the start of the value.
    package var offset: Int
    /// Nil: an object of any type.
    var target: ReferenceTarget?

    /// The word leads nowhere, and is right all the same.
    var isNoReference: Bool {
      if case .anyValue = target { return !ReferenceWord.isReference(word) }
      return word == 0
    }
  }

  /// Calls `body` with every reference of a value, nil ones included.
  ///
  /// - Parameter value: where the value is. Nobody else may change it meanwhile.
  package func walk(_ value: UnsafeRawPointer, _ body: (Found, _ path: ReferencePath) -> Void) {
    var path = ReferencePath()
    unsafe walk(value, at: 0, &path, body)
  }

  private func walk(
    _ value: UnsafeRawPointer, at offset: Int, _ path: inout ReferencePath,
    _ body: (Found, ReferencePath) -> Void
  ) {
    for part in parts {
      path.steps.append(.field(part.name))
      let (start, offset) = unsafe (value + part.offset, offset + part.offset)
      switch part.content {
      case .reference(let target):
        let word = unsafe start.load(as: UInt.self)
        body(Found(word: word, offset: offset, target: target), path)
      case .nested(let plan):
        unsafe plan.walk(start, at: offset, &path, body)
      case .repeated(let plan, let count, let stride):
        for index in 0..<count {
          path.steps.append(.index(index))
          unsafe plan.walk(start + index * stride, at: offset + index * stride, &path, body)
          path.steps.removeLast()
        }
      case .choice(let choice):
        unsafe choice.walk(start, at: offset, &path, body)
      }
      path.steps.removeLast()
    }
  }
}

extension ReferencePlan.Choice {
  fileprivate func walk(
    _ value: UnsafeRawPointer, at offset: Int, _ path: inout ReferencePath,
    _ body: (ReferencePlan.Found, ReferencePath) -> Void
  ) {
    unsafe withPayload(of: value) { found, payload in
      path.steps.append(.inCase(type.isOptional ? "" : "case " + found.name))
      unsafe found.plan.walk(payload, at: offset, &path, body)
      path.steps.removeLast()
    }
  }

  /// Calls `body` with the case that a value has and a copy of its payload, if references can be in
  /// it.
  fileprivate func withPayload(
    of value: UnsafeRawPointer,
    _ body: (_ found: (name: String, plan: ReferencePlan), _ payload: UnsafeRawPointer) -> Void
  ) {
    let tag = unsafe type.enumTag(of: value)
    guard cases.indices.contains(tag), !cases[tag].plan.isEmpty else { return }
    unsafe withUnsafeTemporaryAllocation(byteCount: type.size, alignment: type.alignment) {
      buffer in
      guard let payload = buffer.baseAddress else { return }
      unsafe payload.copyMemory(from: value, byteCount: type.size)
      unsafe type.projectPayload(payload)
      unsafe body(cases[tag], UnsafeRawPointer(payload))
    }
  }
}

// MARK: - Without paths

extension ReferencePlan {
  /// Calls `body` with the offset and the word of every reference in the enums of a value.
  ///
  /// For the verifier, which asks for every enum of the heap in every cycle and needs no names: a
  /// path takes ten times as long.
  ///
  /// - Parameter value: where the value is. Nobody else may change it meanwhile.
  package func forEachEnumReference(
    in value: UnsafeRawPointer, _ body: (_ offset: Int, _ word: UInt) -> Void
  ) {
    unsafe forEachReference(in: value, at: 0, isInEnum: false, body)
  }

  private func forEachReference(
    in value: UnsafeRawPointer, at offset: Int, isInEnum: Bool, _ body: (Int, UInt) -> Void
  ) {
    for part in parts {
      let (start, offset) = unsafe (value + part.offset, offset + part.offset)
      switch part.content {
      case .reference:
        if isInEnum { unsafe body(offset, start.load(as: UInt.self)) }
      case .nested(let plan):
        unsafe plan.forEachReference(in: start, at: offset, isInEnum: isInEnum, body)
      case .repeated(let plan, let count, let stride):
        for index in 0..<count {
          unsafe plan.forEachReference(
            in: start + index * stride, at: offset + index * stride, isInEnum: isInEnum, body)
        }
      case .choice(let choice):
        unsafe choice.withPayload(of: start) { found, payload in
          unsafe found.plan.forEachReference(in: payload, at: offset, isInEnum: true, body)
        }
      }
    }
  }
}

// MARK: - What a reference leads to

/// What a reference's type says about the object at its end.
enum ReferenceTarget: Sendable {
  case object(Any.Type)
  case array(of: Any.Type)
  case buffer(Any.Type)
  /// An object of any type, or none: the word may be an immediate.
  case anyValue
}

/// A reference whose type says what it leads to.
protocol TypedReference {
  static var target: ReferenceTarget { get }
}

extension HeapRef: TypedReference {
  static var target: ReferenceTarget { .object(Object.self) }
}

extension WeakHeapRef: TypedReference {
  static var target: ReferenceTarget { .object(WeakCell.self) }
}

extension HeapEphemeronMap: TypedReference {
  static var target: ReferenceTarget { .object(EphemeronMapObject.self) }
}

extension HeapWeakDictionary: TypedReference {
  static var target: ReferenceTarget { .object(WeakDictionaryObject<Key>.self) }
}

extension HeapArray: TypedReference {
  static var target: ReferenceTarget { .array(of: Element.self) }
}

extension HeapString: TypedReference {
  static var target: ReferenceTarget { .array(of: Byte.self) }
}

extension HeapBuffer: TypedReference {
  static var target: ReferenceTarget { .buffer(Self.self) }
}

extension HeapValue: TypedReference {
  static var target: ReferenceTarget { .anyValue }
}

extension HeapList: TypedReference {
  static var target: ReferenceTarget { .object(ListObject<Element>.self) }
}

extension HeapDictionary: TypedReference {
  static var target: ReferenceTarget { .object(DictionaryObject<Key, Value>.self) }
}

extension ElementStorage: TypedReference {
  static var target: ReferenceTarget { .array(of: Self.self) }
}

extension Optional: TypedReference where Wrapped: TypedReference {
  static var target: ReferenceTarget { Wrapped.target }
}
