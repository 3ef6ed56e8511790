// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Strings.
//
// A string without escapes is not copied here: its contents are a range of the source, checked on
// the way. The first backslash moves what was read so far into the scratch buffer, which then takes
// the rest.
//
// Checked are: no control character below U+0020, well-formed UTF-8 (no overlong form, no
// surrogate, nothing above U+10FFFF), and known escapes only.
//
// \uXXXX names a UTF-16 code unit. A high surrogate followed at once by an escaped low one makes one
// code point. A half without its other half is allowed by the grammar of JSON and is one code point
// by itself, as Python's json has it. Strings can therefore not be Swift strings, which would turn
// every such half into U+FFFD and two different member names into the same; they are bytes, in
// the generalised UTF-8 that is known as WTF-8. Since pairs are always joined, equal texts have equal
// bytes.

extension Lexer {
  /// Reads a string, from its opening quote to behind the closing one.
  mutating func readString() throws(SyntaxError) {
    let opening = offset
    offset += 1
    let start = offset
    try skipPlainText(opening)
    if source[offset] == UInt8(ascii: "\"") {
      text = .inSource(start..<offset)
      offset += 1
      return
    }

    scratch.removeAll(keepingCapacity: true)
    unsafe scratch.append(contentsOf: source.slice(start..<offset))
    while source[offset] == UInt8(ascii: "\\") {
      try readEscape(opening)
      let plain = offset
      try skipPlainText(opening)
      unsafe scratch.append(contentsOf: source.slice(plain..<offset))
    }
    text = .inScratch
    offset += 1
  }

  /// Goes over text that means itself, up to a quote or a backslash.
  private mutating func skipPlainText(_ opening: Int) throws(SyntaxError) {
    while true {
      let byte = source[offset]
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        return
      case 0x20...0x7F:
        offset += 1
      case 0x80...:
        try skipMultibyte(byte)
      case 0 where offset == source.count:
        throw SyntaxError(at: opening, "the string that begins here does not end")
      default:
        throw SyntaxError(at: offset, "control character \(byte) in a string: write an escape")
      }
    }
  }

  /// Goes over a code point of two to four bytes.
  private mutating func skipMultibyte(_ lead: UInt8) throws(SyntaxError) {
    // The second byte has the narrower range where the lead alone would allow overlong forms,
    // surrogates, or more than U+10FFFF (RFC 3629, section 4).
    let (length, second): (Int, ClosedRange<UInt8>) =
      switch lead {
      case 0xC2...0xDF: (2, 0x80...0xBF)
      case 0xE0: (3, 0xA0...0xBF)
      case 0xED: (3, 0x80...0x9F)
      case 0xE1...0xEF: (3, 0x80...0xBF)
      case 0xF0: (4, 0x90...0xBF)
      case 0xF1...0xF3: (4, 0x80...0xBF)
      case 0xF4: (4, 0x80...0x8F)
      default: (0, 0...0)
      }
    // The zero behind the source is no continuation byte, so this does not read past it.
    var isValid = length > 0 && second.contains(source[offset + 1])
    if isValid && length > 2 { isValid = source[offset + 2] & 0xC0 == 0x80 }
    if isValid && length > 3 { isValid = source[offset + 3] & 0xC0 == 0x80 }
    guard isValid else { throw SyntaxError(at: offset, "not UTF-8") }
    offset += length
  }

  // MARK: - Escapes

  /// Reads an escape, from its backslash, into the scratch buffer.
  private mutating func readEscape(_ opening: Int) throws(SyntaxError) {
    let escape = offset
    let letter = source[offset + 1]
    offset += 2
    switch letter {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): scratch.append(letter)
    case UInt8(ascii: "b"): scratch.append(0x08)
    case UInt8(ascii: "f"): scratch.append(0x0C)
    case UInt8(ascii: "n"): scratch.append(0x0A)
    case UInt8(ascii: "r"): scratch.append(0x0D)
    case UInt8(ascii: "t"): scratch.append(0x09)
    case UInt8(ascii: "u"):
      let unit = try readHexDigits(escape)
      if let low = lowSurrogate(after: unit) {
        appendCodePoint(0x10000 + ((unit & 0x3FF) << 10 | low & 0x3FF))
      } else {
        appendCodePoint(unit)
      }
    case 0 where escape + 1 == source.count:
      throw SyntaxError(at: opening, "the string that begins here does not end")
    default:
      throw SyntaxError(at: escape, "unknown escape")
    }
  }

  /// Reads the four digits of \uXXXX.
  private mutating func readHexDigits(_ escape: Int) throws(SyntaxError) -> UInt32 {
    var unit: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = Self.hexDigit(source[offset]) else {
        throw SyntaxError(at: escape, "\\u needs four hexadecimal digits")
      }
      unit = unit << 4 | digit
      offset += 1
    }
    return unit
  }

  private static func hexDigit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
  }

  /// Takes the escape that follows if it is the other half of a surrogate pair.
  private mutating func lowSurrogate(after unit: UInt32) -> UInt32? {
    guard (0xD800...0xDBFF).contains(unit), source[offset] == UInt8(ascii: "\\"),
      source[offset + 1] == UInt8(ascii: "u")
    else { return nil }
    var low: UInt32 = 0
    for index in 2..<6 {
      // A byte that is no digit ends the look-ahead, so the end of the source is not passed.
      guard let digit = Self.hexDigit(source[offset + index]) else { return nil }
      low = low << 4 | digit
    }
    guard (0xDC00...0xDFFF).contains(low) else { return nil }
    offset += 6
    return low
  }

  /// Writes a code point or a lone surrogate in the manner of UTF-8.
  private mutating func appendCodePoint(_ point: UInt32) {
    func part(_ shift: UInt32) -> UInt8 {
      UInt8(truncatingIfNeeded: point >> shift & 0x3F | 0x80)
    }
    let top = { (shift: UInt32, mark: UInt8) in UInt8(truncatingIfNeeded: point >> shift) | mark }
    switch point {
    case ..<0x80: scratch.append(top(0, 0))
    case ..<0x800: scratch += [top(6, 0xC0), part(0)]
    case ..<0x10000: scratch += [top(12, 0xE0), part(6), part(0)]
    default: scratch += [top(18, 0xF0), part(12), part(6), part(0)]
    }
  }
}
