// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A stack whose elements may hold references.
//
// A Swift array cannot do this: the collector does not look into it, and would free what is
// referred to from there alone. So the elements are in a heap array, and this struct, which lives in
// the frame of a function, holds the reference to it; a stack frame is scanned.
//
// The heap array has a fixed length. When it is full, one of twice the length takes its place, and
// the old one is garbage at once.
//
// Elements that were popped are not cleared: they are kept alive until something else is pushed
// over them. A parser hands nearly all of them on to its result anyway.

internal import Mutator

/// A growable stack in the heap, owned by one function.
struct HeapStack<Element> {
  private var elements: HeapArray<Element>
  private let filler: Element
  private(set) var count = 0

  /// Makes an empty stack; `filler` is what unused elements hold, nil or the like.
  init(filler: Element, in mutator: HeapMutator) {
    self.filler = filler
    elements = mutator.allocateArray(of: Element.self, count: 64, repeating: filler)
  }

  subscript(index: Int) -> Element {
    get {
      assert(index < count, "an index above the top of the stack")
      return elements[index]
    }
    nonmutating set {
      assert(index < count, "an index above the top of the stack")
      elements[index] = newValue
    }
  }

  mutating func push(_ element: Element, in mutator: HeapMutator) {
    if count == elements.count { grow(in: mutator) }
    elements[count] = element
    count += 1
  }

  private mutating func grow(in mutator: HeapMutator) {
    let larger = mutator.allocateArray(of: Element.self, count: count * 2, repeating: filler)
    elements.copy(range: 0..<count, to: larger)
    elements = larger
  }

  /// Drops the elements from `newCount` on.
  mutating func cut(to newCount: Int) {
    assert(newCount <= count, "a stack is cut to fewer elements")
    count = newCount
  }

  /// Takes the elements from `start` on off the stack, into an array of their own.
  mutating func takeArray(from start: Int, in mutator: HeapMutator) -> HeapArray<Element> {
    let taken = mutator.allocateArray(of: Element.self, count: count - start, repeating: filler)
    // Most containers are small: one by one is faster than a bulk copy, which has to be set up.
    for index in start..<count { taken[index - start] = elements[index] }
    cut(to: start)
    return taken
  }
}
