// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// From bytes to tokens, by RFC 8259 and no more.
//
//     white space   space, tab, line feed, carriage return
//     punctuation   [ ] { } , :
//     words         true false null (NaN and Infinity are not JSON)
//     strings       see Lexer+Strings.swift
//     numbers       see Lexer+Numbers.swift
//
// The lexer knows nothing of nesting or of the order of tokens: that is the builder's part. It
// holds no heap reference and allocates nothing in the heap. The contents of a string are not in
// its token; they are lent out by `withText` until the next token is read, either from the source
// itself, when no escape was in it, or from a scratch buffer that all strings share.

/// A word of the grammar.
enum Token: Equatable {
  case beginArray
  case endArray
  case beginObject
  case endObject
  case colon
  case comma
  /// A string, whose contents are lent out by `Lexer.withText`.
  case string
  case number(Double)
  case boolean(Bool)
  case null
  /// Behind the last token.
  case end
}

/// Cuts a document into tokens.
struct Lexer {
  let source: Source
  /// Where the next byte is read.
  var offset: Int
  /// Where the latest token began.
  private(set) var tokenStart = 0

  /// Where the contents of the latest string are.
  enum Text {
    case inSource(Range<Int>)
    case inScratch
  }
  var text = Text.inScratch
  /// The contents of a string with escapes.
  var scratch: [UInt8] = []

  init(_ source: Source) {
    self.source = source
    offset = source.hasByteOrderMark ? 3 : 0
  }

  /// Reads the next token.
  mutating func next() throws(SyntaxError) -> Token {
    skipWhiteSpace()
    tokenStart = offset
    switch source[offset] {
    case UInt8(ascii: "["): return punctuation(.beginArray)
    case UInt8(ascii: "]"): return punctuation(.endArray)
    case UInt8(ascii: "{"): return punctuation(.beginObject)
    case UInt8(ascii: "}"): return punctuation(.endObject)
    case UInt8(ascii: ":"): return punctuation(.colon)
    case UInt8(ascii: ","): return punctuation(.comma)
    case UInt8(ascii: "\""):
      try readString()
      return .string
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
      return .number(try readNumber())
    case UInt8(ascii: "t"): return try word("true", .boolean(true))
    case UInt8(ascii: "f"): return try word("false", .boolean(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case 0 where offset == source.count: return .end
    default: throw unexpectedByte()
    }
  }

  private mutating func punctuation(_ token: Token) -> Token {
    offset += 1
    return token
  }

  private mutating func word(_ word: StaticString, _ token: Token) throws(SyntaxError) -> Token {
    let matches = word.withUTF8Buffer { letters in
      for index in letters.indices
      where unsafe source[min(offset + index, source.count)] != letters[index] {
        return false
      }
      return true
    }
    guard matches else { throw SyntaxError(at: offset, "expected '\(word)'") }
    offset += word.utf8CodeUnitCount
    return token
  }

  private mutating func skipWhiteSpace() {
    while true {
      switch source[offset] {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        offset += 1
      default:
        return
      }
    }
  }
}

// MARK: - Contents of strings

extension Lexer {
  /// Lends out the contents of the latest string: UTF-8, except that half of a surrogate pair that
  /// was written as an escape without its other half is there as the three bytes which UTF-8 would
  /// have for it.
  func withText<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
    switch text {
    case .inSource(let range): unsafe body(source.slice(range))
    case .inScratch: unsafe scratch.withUnsafeBufferPointer(body)
    }
  }
}

// MARK: - Errors

extension Lexer {
  private func unexpectedByte() -> SyntaxError {
    let byte = source[offset]
    switch byte {
    case 0x21...0x7E:
      return SyntaxError(at: offset, "unexpected '\(Character(UnicodeScalar(byte)))'")
    case 0x80...:
      return SyntaxError(at: offset, "unexpected character outside of a string")
    default:
      return SyntaxError(at: offset, "unexpected control character \(byte)")
    }
  }
}
