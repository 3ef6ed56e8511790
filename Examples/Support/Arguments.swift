// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The command line: positional arguments as the program declares them, and the options that
// every program of this package takes.
//
//     --gc-percent N|off     how much the heap may grow between collections, in percent
//     --memory-limit SIZE    soft limit on all memory of the heap: 512MiB, 2GiB, bytes, off
//     --trace                one line a collection on standard error
//     --help
//
// Options may stand anywhere; `--option=value` and `--option value` mean the same; the last one of
// a kind counts; after `--` everything is positional. The result is either a complete set of
// values or one sentence that says what is wrong, never a guess. Parsing touches no global state,
// so that it can be tried on any list of words.
//
// The options override the environment (HEAP_GCPERCENT and the others, see `HeapConfiguration`).

internal import Mutator

/// The words of a command line, understood.
public struct Arguments: Sendable {
  private var values: [String: String] = [:]
  var gcPercent: GCPercent?
  /// Nil: not given; nil inside: off.
  var memoryLimit: Int??
  var trace = false
  var wantsHelp = false

  /// The value of a parameter that was declared as a whole number.
  public func integer(_ name: String) -> Int {
    guard let number = PlainNumber.parse(text(name)) else {
      preconditionFailure("\(name) was not declared as a number")
    }
    return number
  }

  /// The value of any parameter, as it was written.
  public func text(_ name: String) -> String {
    guard let value = values[name] else {
      preconditionFailure("\(name) was not declared as a parameter of this program")
    }
    return value
  }

  /// The configuration that the environment and the options ask for.
  func configuration(named name: String) -> HeapConfiguration {
    var configuration = HeapConfiguration.fromEnvironment()
    configuration.name = name
    if let gcPercent { configuration.gcPercent = gcPercent }
    if let memoryLimit { configuration.memoryLimit = memoryLimit }
    if trace { configuration.trace = .cycles }
    return configuration
  }
}

/// The command line is wrong; the text says how.
struct UsageError: Error {
  let message: String

  init(_ message: String) {
    self.message = message
  }
}

// MARK: - Parsing

extension Arguments {
  /// Reads the words after the program's name.
  init(parsing words: [String], for parameters: [Parameter]) throws(UsageError) {
    var positional: [String] = []
    var rest = words[...]
    while let word = rest.popFirst() {
      if word == "--" {
        positional += rest
        break
      }
      // A number below zero is a bad value and not a bad option; a lone dash is a name.
      let isOption = word.hasPrefix("-") && word.count > 1 && Int(word) == nil
      if isOption {
        try take(option: word, from: &rest)
      } else {
        positional.append(word)
      }
      if wantsHelp { break }
    }
    if !wantsHelp { try bind(positional, to: parameters) }
  }

  private mutating func bind(
    _ words: [String], to parameters: [Parameter]
  ) throws(UsageError) {
    for (index, parameter) in parameters.enumerated() {
      guard index < words.count else {
        guard let value = parameter.defaultText else {
          throw UsageError("\(parameter.name) is missing")
        }
        values[parameter.name] = value
        continue
      }
      guard parameter.accepts(words[index]) else {
        throw UsageError("\(parameter.name): '\(words[index])' is not \(parameter.accepted)")
      }
      values[parameter.name] = words[index]
    }
    if words.count > parameters.count {
      throw UsageError("'\(words[parameters.count])' is one argument too many")
    }
  }

  private mutating func take(
    option word: String, from rest: inout ArraySlice<String>
  ) throws(UsageError) {
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    var attached = parts.count > 1 ? String(parts[1]) : nil

    func value(_ accepted: String) throws(UsageError) -> String {
      if let given = attached.take() { return given }
      guard let next = rest.popFirst() else {
        throw UsageError("\(name) needs a value: \(accepted)")
      }
      return next
    }

    switch name {
    case "--gc-percent":
      let accepted = "a whole number, or off"
      let text = try value(accepted)
      if text == "off" {
        gcPercent = .off
      } else if let number = PlainNumber.parse(text) {
        gcPercent = .percent(number)
      } else {
        throw UsageError("--gc-percent: '\(text)' is not \(accepted)")
      }
    case "--memory-limit":
      let accepted = "a size such as 512MiB, 2GiB or 1048576, or off"
      let text = try value(accepted)
      if text == "off" {
        memoryLimit = .some(nil)
      } else if let size = ByteSize.parse(text) {
        memoryLimit = size
      } else {
        throw UsageError("--memory-limit: '\(text)' is not \(accepted)")
      }
    case "--trace":
      trace = true
    case "--help", "-h":
      wantsHelp = true
    default:
      throw UsageError("there is no option '\(name)'")
    }
    if attached != nil { throw UsageError("\(name) takes no value") }
  }
}
