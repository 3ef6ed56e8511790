// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What is in a tree, by walking all of it.
//
//     objects arrays strings numbers booleans nulls   how many values of each kind
//     members          name and value pairs of all objects
//     deepest-level    of nesting; the outermost value is at level 1
//     longest-string   in code points; values only, no member names
//     number-total     the sum of all numbers as Doubles, added one by one in the document's order
//
// A name that occurred twice in one object counts once, with its last value. `compare.py` prints the
// same lines by Python's json, so that the two can be compared byte for byte; a sum of Doubles
// depends on the order of addition, hence the precise definition.
//
// The walk does not recurse. Its stack is a chain of heap objects, one for each container that was
// entered and not left, and the local variable that holds the innermost one keeps all of them alive.
// A container that was left makes one dead object: the walk gives the collector something to do.

internal import Mutator

/// A container that is being walked through.
struct Visit: HeapObject {
  let values: HeapArray<Value>
  var next = 0
  let outer: HeapRef<Visit>?
}

/// The counts of a tree.
struct Summary: Sendable {
  var objects = 0
  var arrays = 0
  var strings = 0
  var numbers = 0
  var booleans = 0
  var nulls = 0
  var members = 0
  var deepestLevel = 0
  var longestString = 0
  var numberTotal = 0.0

  /// Walks through a tree.
  init(of root: Value, in mutator: HeapMutator) {
    var level = 1
    var innermost = enter(root, at: level, inside: nil, in: mutator)
    while let visit = innermost {
      mutator.safepoint()
      let index = visit.next
      let values = visit.values
      guard index < values.count else {
        innermost = visit.outer
        level -= 1
        continue
      }
      visit.next = index + 1
      if let inner = enter(values[index], at: level + 1, inside: visit, in: mutator) {
        innermost = inner
        level += 1
      }
    }
  }

  /// Counts a value; returns a visit if there are values in it.
  private mutating func enter(
    _ value: Value, at level: Int, inside outer: HeapRef<Visit>?, in mutator: HeapMutator
  ) -> HeapRef<Visit>? {
    deepestLevel = max(deepestLevel, level)
    let inner: HeapArray<Value>
    switch value {
    case .null:
      nulls += 1
      return nil
    case .boolean:
      booleans += 1
      return nil
    case .number(let number):
      numbers += 1
      numberTotal += number
      return nil
    case .string(let text):
      strings += 1
      // No string has more code points than bytes.
      if text.count > longestString { longestString = max(longestString, codePoints(in: text)) }
      return nil
    case .array(let values):
      arrays += 1
      inner = values
    case .object(let object):
      objects += 1
      inner = object.values
      members += inner.count
    }
    guard inner.count > 0 else { return nil }
    return mutator.allocate(Visit(values: inner, outer: outer))
  }

  /// How many bytes begin a code point.
  private func codePoints(in text: HeapArray<UInt8>) -> Int {
    unsafe text.withUnsafeElements { bytes in
      var count = 0
      for index in bytes.indices where unsafe bytes[index] & 0xC0 != 0x80 { count += 1 }
      return count
    }
  }
}

// MARK: - Printing

extension Summary {
  /// The lines that are printed.
  var lines: [String] {
    [
      "objects \(objects)", "arrays \(arrays)", "strings \(strings)", "numbers \(numbers)",
      "booleans \(booleans)", "nulls \(nulls)", "members \(members)",
      "deepest-level \(deepestLevel)", "longest-string \(longestString)",
      "number-total \(Self.shortest(numberTotal))",
    ]
  }

  /// The shortest decimal number that reads back as the same Double, written as Python does: with
  /// an exponent below 1e-4 and from 1e16.
  ///
  /// Swift's own description differs in two points: it has no exponent up to 2^54, and it shows the
  /// sign of "not a number".
  private static func shortest(_ number: Double) -> String {
    if number.isNaN { return "nan" }
    let text = number.description
    guard number.isFinite, abs(number) >= 1e16, !text.contains("e") else { return text }
    let sign = number < 0 ? "-" : ""
    let digits = text.drop(while: { $0 == "-" }).prefix(while: { $0 != "." })
    let exponent = digits.count - 1
    var significant = digits
    while significant.last == "0" { significant.removeLast() }
    let fraction = significant.dropFirst()
    return sign + significant.prefix(1) + (fraction.isEmpty ? "" : "." + fraction)
      + "e+\(exponent)"
  }
}
