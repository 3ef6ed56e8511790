// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Odd words where references may be: they are numbers, and keep nothing alive. The number of each test
// is the address of a byte inside an object, so that whoever takes it for a reference marks that
// object: the worst number that a program can choose.

import CHeapShims
import Collector
import Heap
import TestSupport
import Testing

@Suite("Immediates")
struct ImmediatesTests {
  let fixture: HeapFixture
  /// An array of values.
  let array: HeapLayout
  /// An array of pairs, of which the second word is a value.
  let pairs: HeapLayout

  init() throws {
    // Unchecked: the collector does not know that the stores of these tests are of values, and would
    // take each number for a mistake. Checked mode: HeapValueTests.
    fixture = try HeapFixture { $0.checks = false }
    array = try fixture.heap.register(
      .init(
        kind: .array, size: 8, alignment: 8, elementsOffset: 8, references: [0],
        hasImmediates: true), name: "Values")
    pairs = try fixture.heap.register(
      .init(
        kind: .array, size: 16, alignment: 8, elementsOffset: 8, references: [8],
        hasImmediates: true), name: "Pairs")
  }

  private func makeArray(_ layout: HeapLayout, _ count: Int, _ program: Program) -> UInt {
    guard let array = program.tryArray(layout, count: count) else { broken("no memory") }
    return array
  }

  private var leaves: Set<UInt> { fixture.objects(of: fixture.leaf) }

  @Test("nil and odd words are no references, all even ones are")
  func telling() {
    #expect(!ReferenceWord.isReference(0))
    for number in [1, 3, 0x7fff_1235, .max, .max >> 1] as [UInt] {
      #expect(!ReferenceWord.isReference(number))
      #expect(ReferenceWord.isReference(number & ~1) == (number != 1))
    }
  }

  @Test("in a field, an element, and the payload of an enum, small or large")
  func scanning() {
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      for count in [3, 100, 10_000] {
        let array = makeArray(self.array, count, program)
        program.store(array, into: holder.reference, HeapFixture.left)
        let leaf = program.makeLeaf()
        for offset in [HeapFixture.right, HeapFixture.ambiguous] {
          program.initialize(holder.reference, offset, leaf + 1)
        }
        let elements = program.load(holder.reference, HeapFixture.left)
        for index in [0, count - 1] { program.initialize(elements, 8 + 8 * index, leaf + 17) }
        program.cycle()
        #expect(leaves.isEmpty)
        #expect(program.load(holder.reference, HeapFixture.right) == leaf + 1)
        let pairs = makeArray(self.pairs, count, program)
        program.store(pairs, into: holder.reference, HeapFixture.left)
        program.initialize(pairs, 16, program.makeLeaf() + 1)
        program.cycle()
        #expect(leaves.isEmpty)
      }
    }
  }

  @Test("in an old object that was written, for a minor cycle", arguments: [3, 1000])
  func cards(count: Int) {
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      let array = program.root(makeArray(self.array, count, program))
      program.cycle()
      let leaf = program.makeLeaf()
      program.store(leaf + 1, into: holder.reference, HeapFixture.left)
      program.store(leaf + 3, into: holder.reference, HeapFixture.ambiguous)
      program.store(leaf + 5, into: array.reference, 8 * count)
      // A leaf that is kept, so that the cards are looked at.
      program.store(program.makeLeaf(), into: array.reference, 8)
      program.cycle(.minor)
      #expect(leaves == [program.load(array.reference, 8)])
    }
  }

  @Test("in a root, and in what a root shades while the heap is marked")
  func roots() {
    fixture.attached { program in
      let leaf = program.makeLeaf()
      let slot = program.root(leaf + 1)
      #expect(fixture.heap.roots.references.isEmpty)
      program.beginCycle()
      program.set(slot, leaf + 3)
      program.drop(program.root(leaf + 5))
      program.endCycle()
      #expect(leaves.isEmpty && slot.reference == leaf + 3)
      program.drop(slot)
    }
  }

  @Test("in a store that is recorded, as the old value and as the new one")
  func recording() throws {
    for capacity in [2, 100] {
      let fixture = try HeapFixture {
        $0.stress.barrierBuffer = capacity
        $0.checks = false
      }
      fixture.attached { program in
        let holder = program.root(program.makeNode())
        let leaf = program.makeLeaf()
        program.initialize(holder.reference, HeapFixture.left, leaf + 1)
        program.beginCycle()
        program.store(leaf + 3, into: holder.reference, HeapFixture.left)
        program.store(leaf + 5, into: holder.reference, HeapFixture.left)
        program.endCycle()
        #expect(fixture.objects(of: fixture.leaf).isEmpty)
      }
    }
  }

  @Test("in a struct that is stored, in a reference word and in an enum")
  func aggregates() {
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      let leaf = program.makeLeaf()
      let offsets: InlineArray<2, UInt32> = [0, 24]
      var words = InlineArray<5, UInt>(repeating: leaf + 1)
      program.beginCycle()
      for number in [leaf + 1, leaf + 3] {
        words = InlineArray(repeating: number)
        unsafe withUnsafePointer(to: offsets) { list in
          let list = unsafe UnsafeRawPointer(list).assumingMemoryBound(to: UInt32.self)
          unsafe withUnsafePointer(to: words) { source in
            unsafe WriteBarrier.recordAggregate(
              destination: holder.reference, source: UInt(bitPattern: source), count: 1, stride: 40,
              references: UnsafeBufferPointer(start: list, count: 1),
              ambiguous: UnsafeBufferPointer(start: list + 1, count: 1), by: program.mutator)
          }
        }
        program.initialize(holder.reference, HeapFixture.left, number)
        program.initialize(holder.reference, HeapFixture.ambiguous, number)
      }
      program.endCycle()
      #expect(leaves.isEmpty)
    }
  }

  @Test("checked mode looks at no odd word that lies in an object or in a root")
  func checkedMode() async {
    await #expect(processExitsWith: .success) {
      let fixture = try HeapFixture { $0.checks = true }
      fixture.attached { program in
        let holder = program.root(program.makeNode())
        let number = program.root(4711)
        program.initialize(holder.reference, HeapFixture.left, 4711)
        program.initialize(holder.reference, HeapFixture.ambiguous, 4713)
        for kind in [.full, .minor, .full] as [CycleKind] { program.cycle(kind) }
        program.drop(number)
        program.drop(holder)
      }
    }
  }

  @Test("the pattern of freed memory is even: no value read from there is taken for a number")
  func pattern() {
    #expect(Sweeper.freedPattern & 1 == 0)
  }
}
