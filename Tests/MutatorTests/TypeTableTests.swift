// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The types that a heap has met: any number of them, found again every time.

import Heap
import Mutator
import TestSupport
import Testing

/// An element type for each `Tag`: `Tagged<Tag<Tag<Void>>>` is another one than `Tagged<Tag<Void>>`.
private struct Tag<Inner> {}

private struct Tagged<Label> {
  var number = 0
}

@Suite struct TypeTableTests {
  /// Calls `body` with so many types.
  private static func forEachType(_ count: Int, _ body: (Any.Type) -> Void) {
    func step<T>(_ type: T.Type, _ left: Int) {
      body(type)
      if left > 1 { step(Tag<T>.self, left - 1) }
    }
    step(Void.self, count)
  }

  /// Allocates an array of one element of a type of its own for each of so many tags.
  private static func allocate(_ types: Int, in mutator: HeapMutator) {
    func array<T>(of type: T.Type) {
      let array = mutator.allocateArray(
        of: Tagged<T>.self, count: 1, repeating: Tagged(number: 7))
      if array[0].number != 7 { broken("an array lost its element") }
    }
    forEachType(types) { _openExistential($0, do: array) }
  }

  /// Allocates arrays of a hundred types in rotation, collecting from time to time.
  private static func rotate(_ rounds: Int, in mutator: HeapMutator) {
    for round in 0..<rounds {
      allocate(100, in: mutator)
      if round % 100 == 0 { mutator.collect() }
    }
  }

  @Test(
    "arrays of many element types in rotation take no memory but their own",
    .disabled(if: Sanitizer.isThread || Sanitizer.isAddress, "the sanitizer takes memory too"))
  func rotation() async {
    // In a process of its own: what is measured is the process's.
    await #expect(processExitsWith: .success) {
      // Unchecked: freed memory is not held out of use.
      try HeapCheck.heap { $0.checks = .off }.withMutator { mutator in
        Self.rotate(200, in: mutator)
        let before = ProcessFigures.residentKiB
        Self.rotate(1000, in: mutator)
        let grown = ProcessFigures.residentKiB - before
        #expect(before > 0 && grown < 512, "the process grew by \(grown) KiB")
      }
    }
  }

  @Test("a type has one layout, whoever asks first")
  func once() throws {
    let heap = try HeapCheck.heap()
    let found = HeapLock([[UInt]](), rank: .verifier)
    onThreads(4) { _ in
      var mine: [UInt] = []
      Self.forEachType(150) { type in
        guard let layout = try? heap.types.elements(type) else { broken("a type was refused") }
        mine.append(layout.address)
      }
      found.withLock { $0.append(mine) }
    }
    let all = found.withLock { $0 }
    #expect(all.allSatisfy { $0 == all[0] })
    #expect(Set(all[0]).count == 150)
  }

  @Test("what is put into a table of types is found again, before and after it grows")
  func table() {
    let table = MetatypeTable()
    var model: [UInt: UInt] = [:]
    var random = RandomNumbers(seed: 11)
    for _ in 0..<5000 {
      let key = UInt(random.below(2000) + 1) * 16
      #expect(table.find(key) == model[key])
      let value = table.find(key) { UInt(random.below(1000) + 1) }
      #expect(model[key] == nil || model[key] == value)
      model[key] = value
    }
    for (key, value) in model { #expect(table.find(key) == value) }
    let measures = table.measures
    #expect(measures.keys == model.count)
    // At most twice the keys rounded up to a power of two, and all smaller tables.
    #expect(measures.bytes <= 16 * 2 * 4096)
  }

  @Test("threads that add the same types at once agree on what they find")
  func concurrent() {
    let table = MetatypeTable()
    let disagreements = HeapLock(0, rank: .verifier)
    let found = HeapLock([UInt: UInt](), rank: .verifier)
    onThreads(4) { number in
      var mine: [UInt: UInt] = [:]
      for turn in 0..<4000 {
        let key = UInt((turn * 7 + number * 1000) % 3000 + 1) * 16
        let value = table.find(key) { UInt(number + 1) << 32 | UInt(turn + 1) }
        if mine[key] ?? value != value { disagreements.withLock { $0 += 1 } }
        mine[key] = value
      }
      for (key, value) in mine {
        let other = found.withLock { found in
          found[key, default: value]
        }
        found.withLock { $0[key] = value }
        if other != value { disagreements.withLock { $0 += 1 } }
      }
    }
    #expect(disagreements.withLock { $0 } == 0)
    #expect(table.measures.keys == 3000)
  }
}
