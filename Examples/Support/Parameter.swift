// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a program can be told on its command line.
//
// The positional arguments are those of the same-named programs in other languages: same order,
// same defaults, so that one line of arguments drives them all. Those programs trust what they
// are given. These do not: every parameter states its range, and a value outside of it is
// refused before anything is allocated, by name and with the range.
//
// A value on the command line is a plain decimal number. `+5`, `0x10`, `1e6`, `5 ` and an empty
// word are not numbers here; neither is anything that does not fit into an Int.

/// One positional argument.
public struct Parameter: Sendable {
  enum Domain: Sendable {
    case integer(default: Int, range: ClosedRange<Int>)
    case choice([String], default: String)
    case numberedChoice([Int], default: Int)
    case path
  }

  /// The name in the usage text, by which the program asks for the value.
  let name: String
  let domain: Domain
  let help: String

  /// A whole number.
  public static func integer(
    _ name: String, default value: Int, in range: ClosedRange<Int>, _ help: String
  ) -> Parameter {
    Parameter(name: name, domain: .integer(default: value, range: range), help: help)
  }

  /// One of several numbers.
  public static func integer(
    _ name: String, default value: Int, among choices: [Int], _ help: String
  ) -> Parameter {
    Parameter(name: name, domain: .numberedChoice(choices, default: value), help: help)
  }

  /// One of several words.
  public static func choice(
    _ name: String, default value: String, among choices: [String], _ help: String
  ) -> Parameter {
    Parameter(name: name, domain: .choice(choices, default: value), help: help)
  }

  /// A file, which has to be given.
  public static func path(_ name: String, _ help: String) -> Parameter {
    Parameter(name: name, domain: .path, help: help)
  }

  /// Whether the program cannot run without it.
  var isRequired: Bool {
    if case .path = domain { true } else { false }
  }

  /// What is taken when the argument is missing.
  var defaultText: String? {
    switch domain {
    case .integer(let value, _), .numberedChoice(_, let value): String(value)
    case .choice(_, let value): value
    case .path: nil
    }
  }

  /// What is accepted, in words that complete "… is not".
  var accepted: String {
    switch domain {
    case .integer(_, let range) where range.upperBound == .max:
      "a whole number from \(range.lowerBound)"
    case .integer(_, let range):
      "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .numberedChoice(let choices, _):
      "one of " + choices.map { String($0) }.joined(separator: ", ")
    case .choice(let choices, _):
      "one of " + choices.joined(separator: ", ")
    case .path:
      "a file name"
    }
  }

  func accepts(_ text: String) -> Bool {
    switch domain {
    case .integer(_, let range): PlainNumber.parse(text).map(range.contains) ?? false
    case .numberedChoice(let choices, _): PlainNumber.parse(text).map(choices.contains) ?? false
    case .choice(let choices, _): choices.contains(text)
    case .path: !text.isEmpty
    }
  }
}

// MARK: - Values

/// Whole numbers as they are written on a command line.
enum PlainNumber {
  /// Decimal digits and nothing else; nil when there is something else, or too many of them.
  static func parse(_ text: some StringProtocol) -> Int? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text)
  }
}
