// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Allocating strings.
//
// A string is an array of bytes whose bytes are valid UTF-8 (HeapString), so it is allocated as one:
// the fast path is that of HeapMutator+Arrays. A Swift string is valid. Bytes from elsewhere are
// copied into the new string first and looked at there, so that they are read once and nobody can
// change them afterwards. They are hardly ever invalid. If they are, a second string is made, with
// U+FFFD where the first one is wrong, as `String(decoding:as:)` does it; the first one is garbage.

internal import Glibc
public import Heap

extension HeapMutator {
  // MARK: - From text

  /// Allocates a string with the given text.
  ///
  /// - Parameter text: a Swift string, or a part of one.
  /// - Returns: a reference to the string.
  @inlinable
  public func allocateString(_ text: some StringProtocol) -> HeapString {
    allocateText(text.utf8)
  }

  /// Allocates a string with the given text, or throws when there is no memory for it.
  ///
  /// - Parameter text: a Swift string, or a part of one.
  /// - Returns: a reference to the string.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable
  public func tryAllocateString(_ text: some StringProtocol) throws(HeapError) -> HeapString {
    try tryAllocateText(text.utf8)
  }

  /// Allocates a string of bytes that are valid UTF-8, or will be looked at.
  @inlinable
  func allocateText(_ bytes: some Collection<UInt8>) -> HeapString {
    let count = bytes.count
    let slot = unsafe arraySlot(HeapString.Byte.self, count: count)
    return unsafe HeapString(_raw: copy(bytes, count, to: slot)._raw)
  }

  /// The same, throwing.
  @inlinable
  func tryAllocateText(_ bytes: some Collection<UInt8>) throws(HeapError) -> HeapString {
    let count = bytes.count
    let slot = unsafe try tryArraySlot(HeapString.Byte.self, count: count)
    return unsafe HeapString(_raw: copy(bytes, count, to: slot)._raw)
  }

  // MARK: - From bytes

  /// Allocates a string with the given bytes of UTF-8.
  ///
  /// Bytes that are not valid UTF-8 are replaced by U+FFFD, as in `String(decoding:as:)`. Use
  /// ``allocateString(validating:)`` to be told instead, and ``allocateBytes(_:)`` to keep them as
  /// they are.
  ///
  /// A collection that has more or fewer elements than its `count` says stops the program.
  ///
  /// - Parameter bytes: the text in UTF-8.
  /// - Returns: a reference to the string.
  /// - Complexity: O(`bytes.count`).
  @inlinable
  public func allocateString(utf8 bytes: some Collection<UInt8>) -> HeapString {
    let text = allocateText(bytes)
    return Self.isUTF8(text.bytes) ? text : repaired(text.bytes)
  }

  /// Allocates a string with the given bytes of UTF-8, or throws when there is no memory for it.
  ///
  /// Bytes that are not valid UTF-8 are replaced by U+FFFD.
  ///
  /// - Parameter bytes: the text in UTF-8.
  /// - Returns: a reference to the string.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable
  public func tryAllocateString(
    utf8 bytes: some Collection<UInt8>
  ) throws(HeapError) -> HeapString {
    let text = try tryAllocateText(bytes)
    return Self.isUTF8(text.bytes) ? text : try tryRepaired(text.bytes)
  }

  /// Allocates a string with the given bytes, or returns nil if they are not valid UTF-8.
  ///
  /// - Parameter bytes: the text in UTF-8.
  /// - Returns: a reference to the string, or nil.
  /// - Complexity: O(`bytes.count`).
  @inlinable
  public func allocateString(validating bytes: some Collection<UInt8>) -> HeapString? {
    let text = allocateText(bytes)
    return Self.isUTF8(text.bytes) ? text : nil
  }

  /// Allocates a string with the given bytes, returns nil if they are not valid UTF-8, or throws
  /// when there is no memory for them.
  ///
  /// - Parameter bytes: the text in UTF-8.
  /// - Returns: a reference to the string, or nil.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable
  public func tryAllocateString(
    validating bytes: some Collection<UInt8>
  ) throws(HeapError) -> HeapString? {
    let text = try tryAllocateText(bytes)
    return Self.isUTF8(text.bytes) ? text : nil
  }

  /// Whether bytes are valid UTF-8.
  @usableFromInline static func isUTF8(_ bytes: HeapArray<UInt8>) -> Bool {
    unsafe bytes.withUnsafeElements { bytes in
      do {
        _ = try unsafe UTF8Span(validating: bytes.span)
        return true
      } catch {
        return false
      }
    }
  }

  @usableFromInline @inline(never)
  func repaired(_ bytes: HeapArray<UInt8>) -> HeapString {
    allocateString(String(decoding: bytes, as: UTF8.self))
  }

  @usableFromInline @inline(never)
  func tryRepaired(_ bytes: HeapArray<UInt8>) throws(HeapError) -> HeapString {
    try tryAllocateString(String(decoding: bytes, as: UTF8.self))
  }

  // MARK: - From parts

  /// A string with the bytes of two parts, one after the other. A part that lies in the heap is kept
  /// alive by the caller.
  func concatenate(
    _ first: UnsafeBufferPointer<UInt8>, _ second: UnsafeBufferPointer<UInt8>
  ) throws(HeapError) -> HeapString {
    let count = first.count + second.count
    let slot = unsafe try tryArraySlot(HeapString.Byte.self, count: count)
    unsafe slot.storeBytes(of: count, as: Int.self)
    let start = unsafe slot + HeapArrayFormat.elementsOffset(alignment: 1)
    if let bytes = first.baseAddress { unsafe memcpy(start, bytes, first.count) }
    if let bytes = second.baseAddress { unsafe memcpy(start + first.count, bytes, second.count) }
    return unsafe HeapString(_raw: slot)
  }

  /// A string with the texts of some strings, and a separator between each two.
  @usableFromInline func join(
    _ parts: some RandomAccessCollection<HeapString>, _ separator: UnsafeBufferPointer<UInt8>
  ) throws(HeapError) -> HeapString {
    var count = separator.count * max(parts.count - 1, 0)
    for part in parts { count += part.count }
    let slot = unsafe try tryArraySlot(HeapString.Byte.self, count: count)
    unsafe slot.storeBytes(of: count, as: Int.self)
    let start = unsafe slot + HeapArrayFormat.elementsOffset(alignment: 1)
    var filled = 0
    func append(_ bytes: UnsafeBufferPointer<UInt8>) {
      // Another thread may have put longer texts there.
      guard bytes.count <= count - filled else { HeapArrayFormat.tooManyElements(count) }
      if let first = bytes.baseAddress { unsafe memcpy(start + filled, first, bytes.count) }
      filled += bytes.count
    }
    for (number, part) in parts.enumerated() {
      if number > 0 { unsafe append(separator) }
      unsafe part.withUTF8 { unsafe append($0) }
    }
    HeapArrayFormat.requireCount(filled, count)
    return unsafe HeapString(_raw: slot)
  }

  /// What `body` returns. Stops the program if it throws.
  @inlinable @inline(__always)
  static func unwrap<Result>(_ body: () throws(HeapError) -> Result) -> Result {
    do throws(HeapError) {
      return try body()
    } catch {
      broken(error.description)
    }
  }
}
