// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a dynamic language calls a value: nothing, a small number, or an object of any type.
//
//     bits of the word          means
//     000…000                   nil
//     n n n … n 1               the immediate n, 63 bits with its sign
//     address     0             a reference (AnyHeapRef)
//
// No object begins at an odd address (ReferenceWord), so the low bit tells an immediate from a
// reference. The collector looks at that bit and is exact: an immediate never keeps an object alive,
// whatever number it is, in a field, an element, a root, or the payload of an enum.
//
// A HeapValue is a reference word for the layout and for the write barrier. So it costs what a HeapRef
// costs, and it can be written as an atomic word. All of its bits are in use: an optional of one
// needs a byte beside the word. `HeapValue.nil` needs none.

internal import Heap

/// A value of a dynamic language in one word: nil, an immediate of 63 bits, or a reference to an
/// object of any type.
///
/// It is valid where a ``HeapRef`` is and may be a field, an element of an array, or the payload of an
/// enum. What it refers to, it keeps alive as a ``HeapRef`` does.
///
/// ```swift
/// func add(_ a: HeapValue, _ b: HeapValue, in mutator: HeapMutator) -> HeapValue {
///   if let a = a.immediate, let b = b.immediate, let sum = HeapValue(exactly: a + b) { return sum }
///   if let a = a.as(HeapString.self), let b = b.as(HeapString.self) {
///     return HeapValue(mutator.allocateString(String(a) + String(b)))
///   }
///   return .nil
/// }
/// ```
///
/// Two values are equal if they are the same immediate or refer to the same object.
///
/// An optional of a `HeapValue` takes two words: use ``nil`` for "nothing".
@frozen public struct HeapValue: _HeapReferenceWord, Hashable {
  @usableFromInline package let bits: UInt

  @inlinable @inline(__always)
  package init(bits: UInt) { self.bits = bits }

  // MARK: - Nil

  /// No value.
  @inlinable public static var `nil`: HeapValue { HeapValue(bits: 0) }

  /// Whether this is ``nil``.
  @inlinable public var isNil: Bool { bits == 0 }

  // MARK: - Immediates

  /// The numbers that an immediate can be: those of 63 bits.
  @inlinable public static var immediateRange: ClosedRange<Int> { Int.min / 2...Int.max / 2 }

  /// A number of 63 bits. It needs no object.
  ///
  /// - Precondition: `immediate` lies in ``immediateRange``.
  @inlinable @inline(__always)
  public init(immediate: Int) {
    guard let value = HeapValue(exactly: immediate) else { Self.immediateOutOfRange(immediate) }
    self = value
  }

  /// A number as an immediate, or nil if it does not fit into 63 bits.
  @inlinable @inline(__always)
  public init?(exactly immediate: Int) {
    let (doubled, overflow) = immediate.addingReportingOverflow(immediate)
    if overflow { return nil }
    bits = UInt(bitPattern: doubled) | 1
  }

  /// The number, if this is an immediate; otherwise nil.
  @inlinable public var immediate: Int? {
    @inline(__always) get { bits & 1 == 1 ? Int(bitPattern: bits) >> 1 : nil }
  }

  @usableFromInline @inline(never)
  static func immediateOutOfRange(_ number: Int) -> Never {
    broken(
      "HeapValue(immediate: \(number)): an immediate has 63 bits, from \(immediateRange.lowerBound) "
        + "to \(immediateRange.upperBound); ask HeapValue(exactly:), and put a larger number into an "
        + "object of its own")
  }

  // MARK: - References

  /// A reference to an object.
  ///
  /// - Precondition: `Object` has 8 bytes or more.
  @inlinable @inline(__always)
  public init<Object: HeapObject>(_ reference: HeapRef<Object>) { self.init(AnyHeapRef(reference)) }

  /// A reference to an object, or ``nil``.
  ///
  /// - Precondition: `Object` has 8 bytes or more.
  @inlinable @inline(__always)
  public init<Object: HeapObject>(_ reference: HeapRef<Object>?) {
    self.init(reference.map { AnyHeapRef($0) })
  }

  /// A reference to an array, a string or a buffer.
  @inlinable @inline(__always)
  public init<Reference: _HeapTypedReference>(_ reference: Reference) {
    self.init(AnyHeapRef(reference))
  }

  /// A reference to an object of any type.
  @inlinable @inline(__always)
  public init(_ reference: AnyHeapRef) { bits = UInt(bitPattern: unsafe reference._raw) }

  /// A reference to an object of any type, or ``nil``.
  @inlinable @inline(__always)
  public init(_ reference: AnyHeapRef?) {
    // SAFETY: an optional reference is one word.
    bits = unsafe unsafeBitCast(reference, to: UInt.self)
  }

  /// The reference, if this is one; nil for immediates and for ``nil``.
  @inlinable public var reference: AnyHeapRef? {
    @inline(__always) get {
      // SAFETY: an optional reference is one word.
      bits & 1 == 0 ? unsafe unsafeBitCast(bits, to: AnyHeapRef?.self) : nil
    }
  }

  /// Whether this is a reference to an object of a type.
  @inlinable @inline(__always)
  public func `is`<Object: HeapObject>(_ type: Object.Type) -> Bool {
    reference?.is(type) ?? false
  }

  /// The reference, if this is one to an object of a type; otherwise nil.
  @inlinable @inline(__always)
  public func `as`<Object: HeapObject>(_ type: Object.Type) -> HeapRef<Object>? {
    reference?.as(type)
  }

  /// Whether this is a reference to an array, a string or a buffer of a type.
  @inlinable @inline(__always)
  public func `is`<Reference: _HeapTypedReference>(_ type: Reference.Type) -> Bool {
    reference?.is(type) ?? false
  }

  /// The array, the string or the buffer, if this is a reference to one of a type; otherwise nil.
  @inlinable @inline(__always)
  public func `as`<Reference: _HeapTypedReference>(_ type: Reference.Type) -> Reference? {
    reference?.as(type)
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message:
    "a value may be a reference, which is valid inside withMutator only: hand a HeapRoot to others"
)
extension HeapValue: Sendable {}

extension HeapValue: CustomStringConvertible, CustomDebugStringConvertible {
  /// `nil`, the number, or the object's type and address.
  public var description: String {
    if let immediate { return "\(immediate)" }
    return reference?.description ?? "nil"
  }

  /// The same as `description`.
  public var debugDescription: String { description }
}
