// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What counts as a thread's stack: all of it, above `withMutator` as well as below.

import Mutator
import Testing

private struct Cell: HeapObject {
  var next: HeapRef<Cell>?
  var value = 0
}

@inline(never)
private func build(_ mutator: HeapMutator, _ count: Int, _ list: inout HeapRef<Cell>?) {
  for value in 0..<count { list = mutator.allocate(Cell(next: list, value: value)) }
}

@inline(never)
private func churn(_ mutator: HeapMutator) {
  for value in 0..<5_000 { _ = mutator.allocate(Cell(next: nil, value: -value - 1)) }
}

@inline(never)
private func holds(_ list: HeapRef<Cell>?, _ count: Int) -> Bool {
  var next = list
  var expected = count - 1
  while let cell = next {
    guard cell.value == expected else { return false }
    expected -= 1
    next = cell.next
  }
  return expected == -1
}

@Suite("Stacks as roots")
struct StackRootsTests {
  @Test("a variable of the function that calls withMutator keeps what its body stores there")
  func capturedVariable() throws {
    for _ in 0..<10 {
      let heap = try HeapCheck.heap()
      var list: HeapRef<Cell>? = nil
      let isIntact = heap.withMutator { mutator in
        build(mutator, 100, &list)
        mutator.collect()
        churn(mutator)
        return holds(list, 100)
      }
      #expect(isIntact)
    }
  }

  @Test("a variable of a frame far above withMutator keeps what is stored there")
  func farAbove() throws {
    let heap = try HeapCheck.heap()
    var list: HeapRef<Cell>? = nil
    #expect(descend(200, heap, &list))
  }

  @inline(never)
  private func descend(_ depth: Int, _ heap: ManagedHeap, _ list: inout HeapRef<Cell>?) -> Bool {
    if depth > 0 { return descend(depth - 1, heap, &list) && depth > 0 }
    return heap.withMutator { mutator in
      build(mutator, 100, &list)
      mutator.collect()
      churn(mutator)
      return holds(list, 100)
    }
  }

  @Test("the stack of a thread in a blocking region is scanned to its end, too")
  func whileBlocked() throws {
    let heap = try HeapCheck.heap()
    var list: HeapRef<Cell>? = nil
    let isIntact = heap.withMutator { mutator in
      build(mutator, 100, &list)
      mutator.blocking { heap.collect() }
      churn(mutator)
      return holds(list, 100)
    }
    #expect(isIntact)
  }
}
