// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Functions that are written in Swift.
//
// A function's object has a number, and the functions are in a Swift array: that holds code, no
// references. What a native gets and gives are heap values.
//
// A whole number that fits into 63 bits is an immediate. One that does not becomes a Real, as in many
// a dynamic language.

internal import Mutator

/// The functions that an interpreter knows from the start.
enum Natives {
  typealias Body =
    @Sendable (HeapArray<HeapValue>, HeapMutator) throws(LispError) -> HeapValue

  static let all: [(name: String, body: Body)] = [
    (
      "+",
      { (a, mutator) throws(LispError) in
        try arithmetic(a, mutator, +, whole: { $0.addingReportingOverflow($1) })
      }
    ),
    (
      "-",
      { (a, mutator) throws(LispError) in
        try arithmetic(a, mutator, -, whole: { $0.subtractingReportingOverflow($1) })
      }
    ),
    (
      "*",
      { (a, mutator) throws(LispError) in
        try arithmetic(a, mutator, *, whole: { $0.multipliedReportingOverflow(by: $1) })
      }
    ),
    ("<", { (a, _) throws(LispError) in truth(try real(a, 0) < real(a, 1)) }),
    ("=", { (a, _) throws(LispError) in truth(try real(a, 0) == real(a, 1)) }),
    ("eq?", { (a, _) throws(LispError) in truth(try argument(a, 0) == argument(a, 1)) }),
    ("null?", { (a, _) throws(LispError) in truth(try argument(a, 0).isNil) }),
    (
      "cons",
      { (a, mutator) throws(LispError) in
        HeapValue(mutator.allocate(Pair(first: try argument(a, 0), rest: try argument(a, 1))))
      }
    ),
    ("car", { (a, _) throws(LispError) in try pair(a, 0).first }),
    ("cdr", { (a, _) throws(LispError) in try pair(a, 0).rest }),
    (
      "set-car!",
      { (a, _) throws(LispError) in
        try pair(a, 0).first = argument(a, 1)
        return try argument(a, 0)
      }
    ),
    (
      "set-cdr!",
      { (a, _) throws(LispError) in
        try pair(a, 0).rest = argument(a, 1)
        return try argument(a, 0)
      }
    ),
  ]

  // MARK: - Arguments

  private static func argument(
    _ arguments: HeapArray<HeapValue>, _ index: Int
  ) throws(LispError) -> HeapValue {
    guard index < arguments.count else { throw LispError("an argument is missing") }
    return arguments[index]
  }

  private static func pair(
    _ arguments: HeapArray<HeapValue>, _ index: Int
  ) throws(LispError) -> HeapRef<Pair> {
    let value = try argument(arguments, index)
    guard let pair = value.as(Pair.self) else {
      throw LispError("\(Printer.text(of: value)) is no pair")
    }
    return pair
  }

  private static func real(
    _ arguments: HeapArray<HeapValue>, _ index: Int
  ) throws(LispError) -> Double {
    let value = try argument(arguments, index)
    if let whole = value.immediate { return Double(whole) }
    guard let real = value.as(Real.self) else {
      throw LispError("\(Printer.text(of: value)) is no number")
    }
    return real.value
  }

  // MARK: - Results

  private static func truth(_ isTrue: Bool) -> HeapValue {
    isTrue ? HeapValue(immediate: 1) : .nil
  }

  private static func arithmetic(
    _ arguments: HeapArray<HeapValue>, _ mutator: HeapMutator,
    _ operation: (Double, Double) -> Double,
    whole: (Int, Int) -> (partialValue: Int, overflow: Bool)
  ) throws(LispError) -> HeapValue {
    let (a, b) = (try argument(arguments, 0), try argument(arguments, 1))
    if let a = a.immediate, let b = b.immediate {
      let (result, overflow) = whole(a, b)
      if !overflow, let value = HeapValue(exactly: result) { return value }
    }
    let result = operation(try real(arguments, 0), try real(arguments, 1))
    return HeapValue(mutator.allocate(Real(value: result)))
  }
}
