// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What lasts from one piece of code to the next: a heap, and the symbols.
//
// An interpreter is an ordinary Swift object, so the collector does not look into it. It has a root,
// which keeps the table of symbols, and with it all global values. Everything else is kept by
// Swift variables while code runs, and by nothing afterwards.

internal import Mutator

/// A Lisp.
final class Interpreter: Sendable {
  typealias Symbols = HeapDictionary<HeapString, HeapRef<Symbol>>

  let heap: ManagedHeap
  private let symbols: HeapRoot<Symbols>

  /// Makes an interpreter that knows the natives and nothing else.
  init(_ heap: ManagedHeap) {
    self.heap = heap
    symbols = heap.withMutator { HeapRoot(Symbols(in: $0), in: $0) }
    heap.withMutator { mutator in
      for (number, native) in Natives.all.enumerated() {
        let symbol = intern(native.name, in: mutator)
        symbol.value = HeapValue(mutator.allocate(Native(number: number)))
        symbol.isDefined = true
      }
    }
  }

  /// Evaluates a text, one expression after the other; what the last one's value looks like.
  func run(_ text: String) throws(LispError) -> String {
    try heap.withMutator { mutator throws(LispError) in
      var reader = Reader(text, self, mutator)
      var evaluator = Evaluator(self, mutator)
      var value = HeapValue.nil
      while let expression = try reader.next() { value = try evaluator.evaluate(expression) }
      return Printer.text(of: value)
    }
  }

  /// The symbol of a name: always the same.
  func intern(_ name: some StringProtocol, in mutator: HeapMutator) -> HeapRef<Symbol> {
    let symbols = symbols.get(in: mutator)
    if let symbol = symbols[name] { return symbol }
    let key = mutator.allocateString(name)
    let symbol = mutator.allocate(Symbol(name: key))
    symbols.updateValue(symbol, forKey: key, in: mutator)
    return symbol
  }
}

/// What is wrong with a program.
struct LispError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
