// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Sizes as people write them.
//
// A number of bytes, or a number with a unit of 1024: KiB, MiB, GiB, TiB; `B` for bytes. A
// fraction is allowed with a unit ("1.5GiB") and is rounded down to whole bytes. Case matters
// and there is no space in between, as in Go's GOMEMLIMIT. Decimal units (MB) are refused:
// whoever writes one may mean either.

/// Parsing and printing of sizes in bytes.
package enum ByteSize {
  /// What `parse` accepts.
  package static let accepted = "a size such as 512MiB, 2GiB, 1.5GiB, a number of bytes, or off"

  private static let units: [(suffix: String, shift: Int)] = [
    ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0),
  ]

  /// The number of bytes that `text` stands for; nil if it is not a size or does not fit.
  package static func parse(_ text: some StringProtocol) -> Int? {
    for unit in units where text.hasSuffix(unit.suffix) {
      return bytes(text.dropLast(unit.suffix.count), shift: unit.shift)
    }
    return bytes(text[...], shift: 0)
  }

  /// A size for people: `640 B`, `12.5 KiB`, `3.0 GiB`; `Int.max` means that there is none.
  static func text(_ bytes: Int) -> String {
    guard bytes < .max else { return "none" }
    let unit = units.prefix(4).last { bytes.magnitude >= 1 << UInt($0.shift) }
    guard let unit else { return "\(bytes) B" }
    // In tenths, rounded down.
    let tenths = ((bytes >> (unit.shift - 10)) * 10) >> 10
    return "\(tenths / 10).\(tenths % 10) \(unit.suffix)"
  }

  private static func bytes(_ number: some StringProtocol, shift: Int) -> Int? {
    let parts = number.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, parts.count == 1 || shift > 0, let whole = digits(parts[0]) else {
      return nil
    }
    let (scaled, overflow) = whole.multipliedReportingOverflow(by: 1 << shift)
    guard !overflow else { return nil }
    guard parts.count == 2 else { return scaled }
    // Nine digits: a unit has at most 40 bits, so the product stays within 70 and is taken
    // apart; more digits say nothing about bytes of a size that anyone writes.
    guard parts[1].count <= 9, let fraction = digits(parts[1]) else { return nil }
    var divisor = 1
    for _ in 0..<parts[1].count { divisor *= 10 }
    let product = fraction.multipliedFullWidth(by: 1 << shift)
    return scaled.addingReportingOverflow(divisor.dividingFullWidth(product).quotient).0
  }

  /// A decimal number without a sign.
  private static func digits(_ text: some StringProtocol) -> Int? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text)
  }
}
