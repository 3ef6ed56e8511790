// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Strings of the heap beside Swift's strings.
//
//     name == "define"      switch name { case "let": … }      name.isEqual(to: piece)
//
// The bytes are compared, as between two strings of the heap. So this is no `==` of two Swift
// strings, where "é" as one scalar equals "e" and an accent. Texts in ASCII give the same answer
// either way, and so do all texts in one normal form.
//
// Nothing is allocated: a native Swift string lends its bytes, a literal has them in the program's
// image, and only a string that is bridged from elsewhere is read byte by byte.

internal import Glibc

extension HeapString {
  /// Whether the text has the same bytes as a Swift string has in UTF-8.
  ///
  /// - Complexity: O(`count`); O(1) for a native string of another length. Allocates nothing.
  @inlinable public func isEqual(to text: some StringProtocol) -> Bool {
    let utf8 = text.utf8
    return utf8.withContiguousStorageIfAvailable { unsafe isEqual(toBytes: $0) }
      ?? bytes.elementsEqual(utf8)
  }

  /// Whether the text has the same bytes as a literal.
  ///
  /// - Complexity: O(`count`); O(1) for another length. Allocates nothing.
  public func isEqual(to text: StaticString) -> Bool {
    text.withUTF8Buffer { unsafe isEqual(toBytes: $0) }
  }

  /// Whether the text has these bytes.
  @usableFromInline func isEqual(toBytes other: UnsafeBufferPointer<UInt8>) -> Bool {
    let count = self.count
    guard count == other.count else { return false }
    return unsafe withUTF8 { bytes in
      unsafe count == 0 || memcmp(bytes.baseAddress!, other.baseAddress!, count) == 0
    }
  }

  /// Less than 0 if the text comes before these bytes in a dictionary's order, 0 if it is the same,
  /// more than 0 if it comes after them.
  @usableFromInline func order(besideBytes other: UnsafeBufferPointer<UInt8>) -> Int {
    unsafe withUTF8 { bytes in
      let common = min(bytes.count, other.count)
      let order =
        unsafe common == 0
        ? 0 : Int(memcmp(bytes.baseAddress!, other.baseAddress!, common))
      return order == 0 ? bytes.count - other.count : order
    }
  }

  /// Calls `body` with the bytes of a Swift string in UTF-8.
  @inlinable static func withUTF8<Result>(
    of text: some StringProtocol, _ body: (UnsafeBufferPointer<UInt8>) -> Result
  ) -> Result {
    let utf8 = text.utf8
    if let result = utf8.withContiguousStorageIfAvailable(body) { return result }
    // A string that is bridged from elsewhere: a copy.
    return unsafe Array(utf8).withUnsafeBufferPointer(body)
  }
}

extension HeapString {
  /// Whether a string of the heap has the same bytes as a Swift string has in UTF-8.
  @inlinable public static func == (string: HeapString, text: some StringProtocol) -> Bool {
    string.isEqual(to: text)
  }

  /// Whether a string of the heap has other bytes than a Swift string has in UTF-8.
  @inlinable public static func != (string: HeapString, text: some StringProtocol) -> Bool {
    !string.isEqual(to: text)
  }

  /// Whether a string of the heap comes before a Swift string, by their bytes in UTF-8.
  @inlinable public static func < (string: HeapString, text: some StringProtocol) -> Bool {
    unsafe withUTF8(of: text) { unsafe string.order(besideBytes: $0) < 0 }
  }

  /// Whether a string of the heap comes after a Swift string, by their bytes in UTF-8.
  @inlinable public static func > (string: HeapString, text: some StringProtocol) -> Bool {
    unsafe withUTF8(of: text) { unsafe string.order(besideBytes: $0) > 0 }
  }

  /// Whether a string of the heap matches a Swift string in a `switch`: its bytes are the same.
  @inlinable public static func ~= (text: some StringProtocol, string: HeapString) -> Bool {
    string.isEqual(to: text)
  }
}
