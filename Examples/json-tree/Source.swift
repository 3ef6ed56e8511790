// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The text of a document, and what can be wrong with it.
//
// The bytes are outside of the heap (see `FileBytes`) and are only looked at: strings and numbers are
// copied out of them. One zero byte follows the last one and may be read. No JSON token contains a
// zero, so the lexer needs no test for the end of the text in its loops: it runs into the zero,
// refuses it, and only then asks whether the text was at an end.
//
// An error carries an offset. Line and column are worked out from it when it is reported, so that
// nothing is counted while all is well. Lines end with a line feed; columns count code points, both
// from 1, as editors and other parsers do.

internal import ProgramSupport

/// The bytes of a document.
@safe
struct Source {
  // Owner: the caller of `FileBytes.withBytes`, for whose time this value exists.
  private let bytes: UnsafeBufferPointer<UInt8>

  init(_ bytes: UnsafeBufferPointer<UInt8>) {
    unsafe self.bytes = bytes
  }

  var count: Int { unsafe bytes.count }

  /// A byte, or the zero behind the last one.
  subscript(offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset <= count, "an offset outside of the document")
    return unsafe bytes.baseAddress.unsafelyUnwrapped[offset]
  }

  /// A part of the text.
  func slice(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
    unsafe UnsafeBufferPointer(rebasing: bytes[range])
  }

  /// Whether the text begins with a byte order mark, which is not part of the document.
  var hasByteOrderMark: Bool {
    count >= 3 && self[0] == 0xEF && self[1] == 0xBB && self[2] == 0xBF
  }

  /// Line and column of an offset, both from 1.
  func position(of offset: Int) -> (line: Int, column: Int) {
    var line = 1
    var column = 1
    for index in (hasByteOrderMark ? 3 : 0)..<max(offset, hasByteOrderMark ? 3 : 0) {
      let byte = self[index]
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 1
      } else if byte & 0xC0 != 0x80 {
        column += 1
      }
    }
    return (line, column)
  }
}

/// A document is not JSON.
struct SyntaxError: Error {
  /// Where, in bytes.
  let offset: Int
  let reason: String

  init(at offset: Int, _ reason: String) {
    self.offset = offset
    self.reason = reason
  }
}
