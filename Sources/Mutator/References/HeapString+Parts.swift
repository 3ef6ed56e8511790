// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// New strings from parts of others.
//
// The bytes go straight from the parts into the new string: its slot is taken first, and its length
// is known before. A string does not change, so where the result has the text of a part, it is that
// part.
//
// Taking the slot is a safepoint, and may be a whole collection. The parts outlive it: whoever
// copies from a string of the heap still has the string. A Swift string lends its bytes for the
// time of the call.
//
// A slice ends where scalars end. Otherwise it would be no UTF-8, and `String(_:)` of it would have
// other bytes.

internal import Heap

extension HeapString {
  // MARK: - Slices

  /// A new string with a part of this text.
  ///
  /// ```swift
  /// let word = line.slice(start..<end, in: mutator)
  /// let rest = line.slice(end..., in: mutator)
  /// ```
  ///
  /// - Parameters:
  ///   - range: the positions of the bytes.
  ///   - mutator: the calling thread's mutator.
  /// - Returns: the new string; this one if that is all of it.
  /// - Precondition: `range` lies in this string, and begins and ends where Unicode scalars do.
  /// - Complexity: O(length of `range`).
  @inlinable public func slice(
    _ range: some RangeExpression<Int>, in mutator: HeapMutator
  ) -> HeapString {
    HeapMutator.unwrap { () throws(HeapError) in try trySlice(range, in: mutator) }
  }

  /// A new string with a part of this text, or throws when there is no memory for it.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  /// - Precondition: `range` lies in this string, and begins and ends where Unicode scalars do.
  @inlinable public func trySlice(
    _ range: some RangeExpression<Int>, in mutator: HeapMutator
  ) throws(HeapError) -> HeapString {
    try slice(between: range.relative(to: utf8), mutator)
  }

  @usableFromInline func slice(
    between range: Range<Int>, _ mutator: HeapMutator
  ) throws(HeapError) -> HeapString {
    let count = self.count
    require(
      0 <= range.lowerBound && range.upperBound <= count,
      "Range out of range: bytes \(range) of a string of \(count) bytes")
    if range.count == count { return self }
    checkCut(at: range.lowerBound)
    checkCut(at: range.upperBound)
    return try unsafe withUTF8 { bytes throws(HeapError) in
      try unsafe mutator.concatenate(
        UnsafeBufferPointer(rebasing: bytes[range]), UnsafeBufferPointer(start: nil, count: 0))
    }
  }

  /// Stops the program if a position lies in the middle of a scalar.
  private func checkCut(at position: Int) {
    require(
      position == count || bytes[position] & 0b1100_0000 != 0b1000_0000,
      "a slice of a string begins or ends in the middle of a Unicode scalar, at position "
        + "\(position): cut between scalars, or take the bytes (utf8)")
  }

  // MARK: - Concatenation

  /// A new string with this text and another.
  ///
  /// - Parameters:
  ///   - other: the text that follows.
  ///   - mutator: the calling thread's mutator.
  /// - Returns: the new string; one of the two if the other is empty.
  /// - Complexity: O(`count` + `other.count`).
  public func appending(_ other: HeapString, in mutator: HeapMutator) -> HeapString {
    HeapMutator.unwrap { () throws(HeapError) in try tryAppending(other, in: mutator) }
  }

  /// A new string with this text and another, or throws when there is no memory for it.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  public func tryAppending(
    _ other: HeapString, in mutator: HeapMutator
  ) throws(HeapError) -> HeapString {
    if other.isEmpty { return self }
    if isEmpty { return other }
    return try unsafe other.withUTF8 { other throws(HeapError) in
      try unsafe appending(bytes: other, mutator)
    }
  }

  /// A new string with this text and that of a Swift string.
  ///
  /// - Complexity: O(`count` + length of `text`).
  @inlinable public func appending(
    _ text: some StringProtocol, in mutator: HeapMutator
  ) -> HeapString {
    HeapMutator.unwrap { () throws(HeapError) in try tryAppending(text, in: mutator) }
  }

  /// A new string with this text and that of a Swift string, or throws when there is no memory for
  /// it.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable public func tryAppending(
    _ text: some StringProtocol, in mutator: HeapMutator
  ) throws(HeapError) -> HeapString {
    try unsafe Self.withUTF8(of: text) { text in
      Result { () throws(HeapError) in try unsafe appending(bytes: text, mutator) }
    }.get()
  }

  @usableFromInline func appending(
    bytes other: UnsafeBufferPointer<UInt8>, _ mutator: HeapMutator
  ) throws(HeapError) -> HeapString {
    if other.isEmpty { return self }
    return try unsafe withUTF8 { bytes throws(HeapError) in
      try unsafe mutator.concatenate(bytes, other)
    }
  }
}

// MARK: - Joining

extension HeapArray where Element == HeapString {
  /// A new string with the texts of all elements, and a separator between each two.
  ///
  /// ```swift
  /// let line = fields.joined(separator: ", ", in: mutator)
  /// ```
  ///
  /// - Parameters:
  ///   - separator: what stands between two elements.
  ///   - mutator: the calling thread's mutator.
  /// - Complexity: O(length of the result).
  @inlinable public func joined(
    separator: String = "", in mutator: HeapMutator
  ) -> HeapString {
    HeapMutator.unwrap { () throws(HeapError) in
      try tryJoined(separator: separator, in: mutator)
    }
  }

  /// A new string with the texts of all elements, or throws when there is no memory for it.
  ///
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  @inlinable public func tryJoined(
    separator: String = "", in mutator: HeapMutator
  ) throws(HeapError) -> HeapString {
    try unsafe HeapString.withUTF8(of: separator) { separator in
      Result { () throws(HeapError) in try unsafe mutator.join(self, separator) }
    }.get()
  }
}
