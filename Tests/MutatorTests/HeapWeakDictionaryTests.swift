// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Weak dictionaries: an entry is gone when its object is.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

private struct Symbol: HeapObject {
  var name: HeapString?
  var key = 0
}

@Suite struct HeapWeakDictionaryTests {
  @Test("a weak dictionary looks up, replaces and removes as a dictionary does")
  func basics() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let symbols = HeapWeakDictionary<HeapString, Symbol>(in: mutator)
      let (one, two) = (mutator.allocate(Symbol(key: 1)), mutator.allocate(Symbol(key: 2)))
      let name = mutator.allocateString("one")
      #expect(symbols.isEmpty && symbols[name] == nil)
      #expect(symbols.updateValue(one, forKey: name, in: mutator) == nil)
      #expect(symbols["one"] == one && symbols[name] == one && symbols.count == 1)
      #expect(symbols.updateValue(two, forKey: name, in: mutator) == one)
      #expect(symbols[name] == two && symbols.count == 1)
      mutator.collect()
      #expect(symbols[name] == two && symbols.map(\.value) == [two])
      #expect(symbols.removeValue(forKey: name) == two)
      #expect(symbols.removeValue(forKey: name) == nil && symbols.isEmpty)
      #expect(one.key == 1)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("an entry is gone when its object is: in look-ups, in the count and in loops")
  func dying() throws {
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let table = HeapWeakDictionary<Int, Symbol>(in: mutator)
      let kept = mutator.allocateArray(of: HeapRef<Symbol>?.self, count: 100, repeating: nil)
      @inline(never) func fill() {
        for key in 0..<1000 {
          let symbol = mutator.allocate(Symbol(key: key))
          table.updateValue(symbol, forKey: key, in: mutator)
          if key % 10 == 0 { kept[key / 10] = symbol }
        }
      }
      fill()
      #expect(table.count == 1000)
      _ = clearStack()
      mutator.collect()
      #expect(table.count >= 100 && table.count < 104)
      #expect(table.reduce(0) { sum, _ in sum + 1 } == table.count)
      #expect(table.allSatisfy { $0.key == $0.value.key })
      for key in stride(from: 0, to: 1000, by: 10) { #expect(table[key] == kept[key / 10]) }
      // What is dead makes room.
      for key in 0..<1000 { table.updateValue(kept[0]!, forKey: 5000 + key % 50, in: mutator) }
      #expect(table.count >= 150 && table.count < 154)
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a symbol table gives each name one symbol while that lives, through collections")
  func interning() throws {
    let heap = try HeapCheck.pacedHeap {
      $0.minimumHeap = 64 << 10
      $0.generations = .automatic
      $0.stress.minorCycles = 3
    }
    heap.withMutator { mutator in
      let symbols = HeapWeakDictionary<HeapString, Symbol>(in: mutator)
      let kept = mutator.allocateArray(of: HeapRef<Symbol>?.self, count: 20, repeating: nil)
      for round in 0..<20_000 {
        let number = round % 97
        let name = mutator.allocateString("symbol \(number)")
        let symbol = symbols.value(forKey: name, in: mutator) {
          mutator.allocate(Symbol(name: name, key: number))
        }
        guard symbol.key == number else { return #expect(symbol.key == number) }
        if number < 20 {
          guard kept[number] == nil || kept[number] == symbol else {
            return #expect(kept[number] == symbol)
          }
          kept[number] = symbol
        }
      }
      _ = clearStack()
      mutator.collect()
      #expect(symbols.count >= 20 && symbols.count < 25)
    }
    HeapCheck.expectEmpty(heap)
  }
}
