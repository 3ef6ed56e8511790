// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Evaluation: a function that calls itself for parts, and goes round for calls in tail position.
//
// Values are in Swift variables, parameters and results, where the collector finds them. They are
// never in a Swift array, a closure or an object of a class: there it would not. So the arguments of a
// native are a HeapArray, and those of a lambda go straight into the frame of the call.
//
// An expression that is nested too deeply for the thread's stack is an error of the program, not a
// crash of the process. Hence the count.

internal import Mutator

/// A thread's evaluation, inside `withMutator`.
struct Evaluator {
  private let mutator: HeapMutator
  private let quote, `if`, lambda, define, set: HeapRef<Symbol>
  private var depth = 0

  /// Evaluations within each other. A debug build takes about a kilobyte of stack for each.
  private static let deepest = 2000

  init(_ interpreter: Interpreter, _ mutator: HeapMutator) {
    self.mutator = mutator
    quote = interpreter.intern("quote", in: mutator)
    `if` = interpreter.intern("if", in: mutator)
    lambda = interpreter.intern("lambda", in: mutator)
    define = interpreter.intern("define", in: mutator)
    set = interpreter.intern("set!", in: mutator)
  }

  /// The value of an expression.
  mutating func evaluate(
    _ expression: HeapValue, _ frame: Frame? = nil
  ) throws(LispError) -> HeapValue {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.deepest else { throw LispError("the program is nested too deeply") }
    var (expression, frame) = (expression, frame)
    while true {
      if let symbol = expression.as(Symbol.self) { return try value(of: symbol, frame) }
      guard let pair = expression.as(Pair.self) else { return expression }
      if let form = pair.first.as(Symbol.self) {
        if form == quote { return try argument(0, of: pair) }
        if form == `if` {
          let isTrue = try !evaluate(argument(0, of: pair), frame).isNil
          expression = try argument(isTrue ? 1 : 2, of: pair, isOptional: true)
          continue
        }
        if form == lambda { return try HeapValue(closure(pair, frame)) }
        if form == define || form == set {
          guard let symbol = try argument(0, of: pair).as(Symbol.self) else {
            throw LispError("\(Printer.text(of: pair.first)) takes a name")
          }
          let value = try evaluate(argument(1, of: pair), frame)
          if form == define {
            (symbol.value, symbol.isDefined) = (value, true)
          } else {
            try assign(value, to: symbol, frame)
          }
          return value
        }
      }
      let function = try evaluate(pair.first, frame)
      if let lambda = function.as(Lambda.self) {
        // A call in tail position: around again, with another expression and another frame.
        (expression, frame) = (lambda.body, try call(lambda, with: pair.rest, frame))
      } else if let native = function.as(Native.self) {
        let arguments = try evaluateAll(pair.rest, frame)
        return try Natives.all[native.number].body(arguments, mutator)
      } else {
        throw LispError("\(Printer.text(of: function)) is no function")
      }
    }
  }

  // MARK: - Names

  private func value(of symbol: HeapRef<Symbol>, _ frame: Frame?) throws(LispError) -> HeapValue {
    if let (frame, index) = place(of: symbol, frame) { return frame[index] }
    guard symbol.isDefined else { throw LispError("\(String(symbol.name)) has no value") }
    return symbol.value
  }

  private func assign(
    _ value: HeapValue, to symbol: HeapRef<Symbol>, _ frame: Frame?
  ) throws(LispError) {
    if let (frame, index) = place(of: symbol, frame) {
      frame[index] = value
    } else {
      guard symbol.isDefined else { throw LispError("\(String(symbol.name)) has no value") }
      symbol.value = value
    }
  }

  /// The frame that a name belongs to, and its place there; nil: it is a global one.
  private func place(of symbol: HeapRef<Symbol>, _ frame: Frame?) -> (Frame, Int)? {
    var next = frame
    while let frame = next {
      if let index = frame.names.firstIndex(of: symbol) { return (frame, index) }
      next = frame.outer
    }
    return nil
  }

  // MARK: - Functions

  private func closure(
    _ form: HeapRef<Pair>, _ frame: Frame?
  ) throws(LispError) -> HeapRef<Lambda> {
    let names = try argument(0, of: form)
    let parameters = try mutator.allocateArray(count: count(names)) {
      index throws(LispError) -> HeapRef<Symbol> in
      guard let symbol = try element(index, of: names).as(Symbol.self) else {
        throw LispError("a parameter is a name")
      }
      return symbol
    }
    let body = try argument(1, of: form)
    return mutator.allocate(Lambda(parameters: parameters, body: body, frame: frame))
  }

  /// The frame of a call: its arguments, evaluated in the caller's frame.
  private mutating func call(
    _ lambda: HeapRef<Lambda>, with arguments: HeapValue, _ frame: Frame?
  ) throws(LispError) -> Frame {
    let names = lambda.parameters
    let called = mutator.allocateBuffer(
      Scope(names: names, outer: lambda.frame), count: names.count, repeating: HeapValue.nil)
    var rest = arguments
    for index in called.elements.indices {
      guard let pair = rest.as(Pair.self) else { throw LispError("an argument is missing") }
      called[index] = try evaluate(pair.first, frame)
      rest = pair.rest
    }
    guard rest.isNil else { throw LispError("there are too many arguments") }
    return called
  }

  private mutating func evaluateAll(
    _ arguments: HeapValue, _ frame: Frame?
  ) throws(LispError) -> HeapArray<HeapValue> {
    let values = mutator.allocateArray(
      of: HeapValue.self, count: count(arguments), repeating: .nil)
    var rest = arguments
    for index in values.indices {
      guard let pair = rest.as(Pair.self) else { break }
      values[index] = try evaluate(pair.first, frame)
      rest = pair.rest
    }
    return values
  }

  // MARK: - Lists

  private func count(_ list: HeapValue) -> Int {
    var (count, rest) = (0, list)
    while let pair = rest.as(Pair.self) { (count, rest) = (count + 1, pair.rest) }
    return count
  }

  private func element(_ index: Int, of list: HeapValue) throws(LispError) -> HeapValue {
    var rest = list
    for _ in 0..<index { rest = rest.as(Pair.self)?.rest ?? .nil }
    guard let pair = rest.as(Pair.self) else { throw LispError("a form is too short") }
    return pair.first
  }

  /// What comes behind the name of a form.
  private func argument(
    _ index: Int, of form: HeapRef<Pair>, isOptional: Bool = false
  ) throws(LispError) -> HeapValue {
    if isOptional, count(form.rest) <= index { return .nil }
    return try element(index, of: form.rest)
  }
}
