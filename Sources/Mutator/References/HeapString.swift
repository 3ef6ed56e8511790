// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Text in a managed heap.
//
// One word, a reference to an array object of UTF-8 bytes (HeapArrayFormat), without a
// terminating zero. Strings have a layout of their own, so that the heap knows which arrays of bytes
// are strings (AnyHeapRef). A string never changes after it was made. It is always valid UTF-8: it is
// made from Swift's strings, from bytes that are repaired where they are not valid, or from parts of
// other strings that are cut between two Unicode scalars. Nothing about it is counted, so it is what
// an object has where a Swift struct would have a `String`.
//
// Equality, order and hash are those of the bytes. Swift's own strings compare by canonical
// equivalence ("é" as one scalar equals "e" and an accent); these do not, which makes them
// fit for keys and is what Go's do. The order of UTF-8 bytes is the order of Unicode scalars.
//
// Positions are offsets of bytes, from 0 to `count`. A position between two bytes of one scalar is
// no place to cut at.
//
//     HeapString.swift              the reference, its bytes, equality, order, hash
//     HeapString+Comparison.swift   beside Swift's strings
//     HeapString+Search.swift       where a byte or a text is
//     HeapString+Parts.swift        slices, concatenation: new strings
//     HeapMutator+Strings.swift     allocation

internal import Glibc

/// An immutable string in a managed heap, in UTF-8, compared by its bytes.
///
/// ``HeapMutator/allocateString(_:)`` makes one of a Swift string, and
/// ``HeapMutator/allocateString(utf8:)`` one of bytes. It is valid where a ``HeapRef`` is, and may be a
/// field: where a Swift struct would have a `String`, a ``HeapObject`` has a `HeapString`. `String(_:)`
/// makes a Swift string of it.
///
/// Equality, order and hash are those of the bytes, not of canonical equivalence as in `String`.
/// Positions are offsets of bytes:
///
/// ```swift
/// let path = mutator.allocateString("src/main.swift")
/// if let slash = path.lastIndex(of: UInt8(ascii: "/")), path.hasSuffix(".swift") {
///   let name = path.slice((slash + 1)..., in: mutator)       // "main.swift"
///   print(name.appending("!", in: mutator), name == "main.swift")
/// }
/// ```
@safe @frozen
public struct HeapString: _HeapNonNullReference {
  @usableFromInline package let bytes: HeapArray<UInt8>

  /// What a string is an array of, for the heap: so a string is told from an array of `UInt8`.
  @frozen @usableFromInline package struct Byte {
    @usableFromInline var byte: UInt8
  }

  /// The array object's first address.
  @inlinable package var _raw: UnsafeMutableRawPointer { unsafe bytes._raw }

  /// A reference to the array object at an address, whose bytes are valid UTF-8.
  @inlinable package init(_raw raw: UnsafeMutableRawPointer) {
    bytes = unsafe HeapArray(_raw: raw)
  }

  /// The length in bytes of UTF-8.
  ///
  /// - Complexity: O(1).
  @inlinable public var count: Int { bytes.count }

  /// Whether there is no text.
  @inlinable public var isEmpty: Bool { count == 0 }

  /// The bytes of the text.
  @inlinable public var utf8: UTF8View { UTF8View(bytes) }

  /// Calls `body` with the bytes of the text, which are valid for the time of the call.
  @inlinable public func withUTF8<Result, Failure: Error>(
    _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe bytes.withUnsafeElements { elements throws(Failure) in
      try unsafe body(UnsafeBufferPointer(elements))
    }
  }
}

extension HeapString {
  /// The bytes of a string, for reading.
  @frozen public struct UTF8View: RandomAccessCollection {
    @usableFromInline let bytes: HeapArray<UInt8>

    @inlinable init(_ bytes: HeapArray<UInt8>) { self.bytes = bytes }

    /// Zero.
    @inlinable public var startIndex: Int { 0 }

    /// The number of bytes.
    @inlinable public var endIndex: Int { bytes.count }

    /// The positions of the bytes.
    @inlinable public var indices: Range<Int> { bytes.indices }

    /// A byte.
    ///
    /// - Precondition: `0 <= index && index < count`.
    @inlinable public subscript(index: Int) -> UInt8 { bytes[index] }

    /// An iterator over the bytes.
    @inlinable public func makeIterator() -> HeapArray<UInt8>.Iterator { bytes.makeIterator() }

    /// Calls `body` with the bytes' memory.
    @inlinable public func withContiguousStorageIfAvailable<Result>(
      _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
    ) rethrows -> Result? { try unsafe bytes.withContiguousStorageIfAvailable(body) }
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapString: Sendable {}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message: "a reference is valid inside withMutator only, on that thread: hand a HeapRoot to others"
)
extension HeapString.UTF8View: Sendable {}

extension HeapString: Hashable, Comparable {
  /// Whether both have the same bytes.
  ///
  /// - Complexity: O(`count`); O(1) for the same object or different lengths.
  public static func == (a: HeapString, b: HeapString) -> Bool {
    if a.bytes == b.bytes { return true }
    let count = a.count
    guard count == b.count else { return false }
    return unsafe a.withUTF8 { a in
      unsafe b.withUTF8 { b in
        unsafe count == 0 || memcmp(a.baseAddress!, b.baseAddress!, count) == 0
      }
    }
  }

  /// Whether the bytes of the first come before those of the second in a dictionary's order.
  public static func < (a: HeapString, b: HeapString) -> Bool {
    let common = min(a.count, b.count)
    let order = unsafe a.withUTF8 { a in
      unsafe b.withUTF8 { b in
        unsafe common == 0 ? 0 : memcmp(a.baseAddress!, b.baseAddress!, common)
      }
    }
    return order == 0 ? a.count < b.count : order < 0
  }

  /// Hashes the bytes.
  public func hash(into hasher: inout Hasher) {
    unsafe withUTF8 { unsafe Bytes($0).hash(into: &hasher) }
  }

  /// The bytes of a text, with the hash of a string that has them.
  @safe @usableFromInline struct Bytes: Hashable {
    @usableFromInline let bytes: UnsafeBufferPointer<UInt8>

    @usableFromInline init(_ bytes: UnsafeBufferPointer<UInt8>) { unsafe self.bytes = bytes }

    @usableFromInline func hash(into hasher: inout Hasher) {
      unsafe hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
      hasher.combine(0xff as UInt8)  // No byte of UTF-8: "ab", "c" differs from "a", "bc".
    }

    @usableFromInline static func == (a: Bytes, b: Bytes) -> Bool {
      unsafe a.bytes.elementsEqual(b.bytes)
    }
  }
}

extension HeapString: CustomStringConvertible, CustomDebugStringConvertible {
  /// The text.
  public var description: String { String(self) }

  /// The text in quotation marks, as a literal.
  public var debugDescription: String { String(self).debugDescription }
}

extension String {
  /// A Swift string with the text of one in a managed heap.
  ///
  /// - Complexity: O(`string.count`).
  public init(_ string: HeapString) {
    self = unsafe string.withUTF8 { unsafe String(decoding: $0, as: UTF8.self) }
  }
}
