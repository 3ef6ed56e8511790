// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Numbers.
//
//     number = [ "-" ] ( "0" / digit1-9 *digit ) [ "." 1*digit ] [ ("e" / "E") [ "+" / "-" ] 1*digit ]
//
// Every number becomes the nearest Double: an integer of a thousand digits, 1e400 (infinity), and -0
// alike. That is what `float(text)` gives in Python.
//
// Most numbers are short. If the digits without the point are an integer below 2^53 and the power of
// ten is at most 22 either way, both are exact as Doubles, and one multiplication or division rounds
// once, hence correctly (W. D. Clinger, How to Read Floating Point Numbers Accurately, PLDI 1990).
// The others go through strtod, which is correctly rounded for any number of digits.

internal import Glibc

extension Lexer {
  /// Reads a number, from its sign or first digit to behind the last one.
  mutating func readNumber() throws(SyntaxError) -> Double {
    let start = offset
    var decimal = Decimal()
    let isNegative = source[offset] == UInt8(ascii: "-")
    if isNegative { offset += 1 }

    if source[offset] == UInt8(ascii: "0") {
      offset += 1
      if Self.digit(source[offset]) != nil {
        throw SyntaxError(at: start, "a number may not begin with 0 and another digit")
      }
    } else {
      try readDigits("a digit is missing behind the sign") { decimal.append($0) }
    }
    if source[offset] == UInt8(ascii: ".") {
      offset += 1
      try readDigits("a digit is missing behind the decimal point") { decimal.appendFraction($0) }
    }
    if source[offset] | 0x20 == UInt8(ascii: "e") {
      offset += 1
      let sign = source[offset]
      if sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { offset += 1 }
      var exponent = 0
      try readDigits("a digit is missing in the exponent") { digit in
        // Far beyond any Double; what is larger does not matter and must not overflow.
        if exponent < 100_000 { exponent = exponent * 10 + Int(digit) }
      }
      decimal.exponent += sign == UInt8(ascii: "-") ? -exponent : exponent
    }

    if let magnitude = decimal.exactValue { return isNegative ? -magnitude : magnitude }
    return convert(start..<offset)
  }

  /// Reads one digit or more.
  private mutating func readDigits(
    _ missing: String, _ take: (UInt64) -> Void
  ) throws(SyntaxError) {
    guard var digit = Self.digit(source[offset]) else { throw SyntaxError(at: offset, missing) }
    while true {
      take(digit)
      offset += 1
      guard let next = Self.digit(source[offset]) else { return }
      digit = next
    }
  }

  private static func digit(_ byte: UInt8) -> UInt64? {
    let value = byte &- UInt8(ascii: "0")
    return value < 10 ? UInt64(value) : nil
  }

  /// The nearest Double of a number in the source, by way of the C library.
  private mutating func convert(_ range: Range<Int>) -> Double {
    // The scratch buffer is free: a number is not a string. strtod needs a zero behind the text, and
    // must not see what follows it in the source.
    scratch.removeAll(keepingCapacity: true)
    unsafe scratch.append(contentsOf: source.slice(range))
    scratch.append(0)
    return unsafe scratch.withUnsafeBytes { bytes in
      unsafe strtod(bytes.assumingMemoryBound(to: CChar.self).baseAddress.unsafelyUnwrapped, nil)
    }
  }
}

/// The digits of a number as an integer and a power of ten.
private struct Decimal {
  var digits: UInt64 = 0
  var exponent = 0
  private var isExact = true

  mutating func append(_ digit: UInt64) {
    // 10^18 leaves room for one more digit in 64 bits.
    if digits < 1_000_000_000_000_000_000 {
      digits = digits * 10 + digit
    } else {
      isExact = false
    }
  }

  mutating func appendFraction(_ digit: UInt64) {
    append(digit)
    exponent -= 1
  }

  /// The value, if one rounding gets there.
  var exactValue: Double? {
    guard isExact, digits < 1 << 53 else { return nil }
    if digits == 0 { return 0 }
    switch exponent {
    case 0: return Double(digits)
    case 1...22: return Double(digits) * Self.powersOfTen[exponent]
    case -22 ... -1: return Double(digits) / Self.powersOfTen[-exponent]
    default: return nil
    }
  }

  private static let powersOfTen: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
  ]
}
