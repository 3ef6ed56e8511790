// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Where a byte or a text is.
//
// The system's own functions look, which read many bytes at a time and take linear time whatever
// they look for (memchr, memrchr, memmem; the last two are in CHeapShims). What they look for is
// valid UTF-8. In UTF-8 the bytes of a text are found only where the text is: no text begins in the
// middle of a scalar of another.

internal import CHeapShims
internal import Glibc
internal import Heap

extension HeapString {
  // MARK: - Bytes

  /// Where a byte is first, from a position on; nil if it is not there.
  ///
  /// - Parameters:
  ///   - byte: what to look for, for example `UInt8(ascii: ",")`.
  ///   - start: the position to begin at.
  /// - Precondition: `0 <= start && start <= count`.
  /// - Complexity: O(`count`).
  public func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
    checkPosition(start)
    return unsafe withUTF8 { bytes in
      guard start < bytes.count, let base = bytes.baseAddress,
        let found = unsafe memchr(base + start, Int32(byte), bytes.count - start)
      else { return nil }
      return unsafe UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }
  }

  /// Where a byte is last, before a position; nil if it is not there.
  ///
  /// - Parameters:
  ///   - byte: what to look for.
  ///   - end: the position behind the last byte that is looked at; nil: the end of the text.
  /// - Precondition: `0 <= end && end <= count`.
  /// - Complexity: O(`count`).
  public func lastIndex(of byte: UInt8, before end: Int? = nil) -> Int? {
    let end = end ?? count
    checkPosition(end)
    return unsafe withUTF8 { bytes in
      guard end > 0, let base = bytes.baseAddress,
        let found = unsafe heap_find_last_byte(base, end, byte)
      else { return nil }
      return unsafe found - base
    }
  }

  // MARK: - Texts

  /// Where a text is first, from a position on; nil if it is not there.
  ///
  /// An empty text is found at `start`.
  ///
  /// - Parameters:
  ///   - text: what to look for.
  ///   - start: the position to begin at.
  /// - Returns: the positions of its bytes.
  /// - Precondition: `0 <= start && start <= count`.
  /// - Complexity: O(`count` + `text.count`).
  public func firstRange(of text: HeapString, from start: Int = 0) -> Range<Int>? {
    unsafe text.withUTF8 { unsafe firstRange(ofBytes: $0, from: start) }
  }

  /// Where a text is first, from a position on; nil if it is not there.
  ///
  /// The same as for a string of the heap.
  @inlinable public func firstRange(
    of text: some StringProtocol, from start: Int = 0
  ) -> Range<Int>? {
    unsafe Self.withUTF8(of: text) { unsafe firstRange(ofBytes: $0, from: start) }
  }

  /// Whether a text is somewhere in this one. An empty text is in every other.
  ///
  /// - Complexity: O(`count` + `text.count`).
  public func contains(_ text: HeapString) -> Bool { firstRange(of: text) != nil }

  /// Whether a text is somewhere in this one. An empty text is in every other.
  @inlinable public func contains(_ text: some StringProtocol) -> Bool {
    firstRange(of: text) != nil
  }

  /// Whether the text begins with another.
  ///
  /// - Complexity: O(`text.count`).
  public func hasPrefix(_ text: HeapString) -> Bool {
    unsafe text.withUTF8 { unsafe hasBytes($0, at: 0) }
  }

  /// Whether the text begins with another.
  @inlinable public func hasPrefix(_ text: some StringProtocol) -> Bool {
    unsafe Self.withUTF8(of: text) { unsafe hasBytes($0, at: 0) }
  }

  /// Whether the text ends with another.
  ///
  /// - Complexity: O(`text.count`).
  public func hasSuffix(_ text: HeapString) -> Bool {
    unsafe text.withUTF8 { unsafe hasBytes($0, at: count - $0.count) }
  }

  /// Whether the text ends with another.
  @inlinable public func hasSuffix(_ text: some StringProtocol) -> Bool {
    unsafe Self.withUTF8(of: text) { unsafe hasBytes($0, at: count - $0.count) }
  }

  // MARK: - Bytes of texts

  @usableFromInline func firstRange(
    ofBytes text: UnsafeBufferPointer<UInt8>, from start: Int
  ) -> Range<Int>? {
    checkPosition(start)
    guard let wanted = text.baseAddress, text.count > 0 else { return start..<start }
    return unsafe withUTF8 { bytes in
      guard let base = bytes.baseAddress,
        let found = unsafe heap_find_bytes(base + start, bytes.count - start, wanted, text.count)
      else { return nil }
      let first = unsafe found - base
      return first..<first + text.count
    }
  }

  /// Whether these bytes lie at a position, which may be none of this text.
  @usableFromInline func hasBytes(_ text: UnsafeBufferPointer<UInt8>, at start: Int) -> Bool {
    guard start >= 0, text.count <= count - start else { return false }
    guard let wanted = text.baseAddress, text.count > 0 else { return true }
    return unsafe withUTF8 { bytes in
      unsafe memcmp(bytes.baseAddress! + start, wanted, text.count) == 0
    }
  }

  private func checkPosition(_ position: Int) {
    let count = self.count
    require(
      0 <= position && position <= count,
      "Position out of range: position \(position) in a string of \(count) bytes")
  }
}
