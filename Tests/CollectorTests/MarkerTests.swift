// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A marker: which bit a reference is, what a word that may be anything is, and scanning.

import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Markers")
struct MarkerTests {
  let fixture: HeapFixture

  init() throws { fixture = try HeapFixture() }

  private func marking(_ body: (inout Marker) -> Void) {
    var marker = Marker(fixture.heap.marking)
    body(&marker)
    marker.settle()
  }

  /// Every marked slot of the heap.
  private var marked: Set<UInt> {
    var found = Set<UInt>()
    fixture.heap.forEachSpan { span in
      for slot in 0..<span.slotCount where span.isMarked(slot) {
        found.insert(span.address(ofSlot: slot))
      }
    }
    return found
  }

  @Test("marking sets the bits of exactly the objects referred to, and counts each once")
  func exactBits() {
    var random = RandomNumbers("exactBits")
    fixture.attached { program in
      var all: [(address: UInt, bytes: Int)] = []
      for _ in 0..<3000 {
        switch random.below(4) {
        case 0: all.append((program.makeNode(), 48))
        case 1: all.append((program.makeLeaf(), 32))
        default:
          let array = program.makeArray(count: random.below(400))
          all.append((array, Int(fixture.place(of: array)?.span.slotSize ?? 0)))
        }
      }
      let chosen = all.filter { _ in Bool.random(using: &random) }
      marking { marker in
        for _ in 0..<2 {
          for object in chosen.shuffled(using: &random) { marker.mark(object.address) }
        }
      }
      #expect(marked == Set(chosen.map(\.address)))
      #expect(fixture.counted.objects == chosen.count)
      #expect(fixture.counted.bytes == chosen.reduce(0) { $0 + $1.bytes })
    }
  }

  @Test("objects in every page of a span of ten are found and marked")
  func manyPages() throws {
    fixture.attached { program in
      // Three slots, which begin in the first, fourth and seventh page.
      let sizeClass = SizeClass(64)
      #expect(sizeClass.spanPages == 10)
      let mine = (0..<3).compactMap { _ in program.take(fixture.bytes, in: sizeClass) }
      #expect(Set(mine.map { fixture.place(of: $0)?.span }).count == 1)
      marking { marker in
        marker.mark(mine[2])
        marker.markConservatively(mine[1] + sizeClass.slotSizeWord - 1)
      }
      #expect(marked == [mine[1], mine[2]])
    }
  }

  @Test("a word is an allocated slot's if it lies anywhere inside, and nothing else is")
  func lookingUp() throws {
    let other = try HeapFixture()
    fixture.attached { program in
      let node = program.makeNode()
      let owner = fixture.heap.pageHeap.owner
      guard let (span, slot) = HeapSpan.lookUp(node, owner: owner) else {
        return #expect(Bool(false), "a node is not found")
      }
      #expect(span.layout == fixture.node && span.address(ofSlot: slot) == node)
      for offset in 0..<48 as Range<UInt> {
        #expect(HeapSpan.lookUp(node + offset, owner: owner)?.1 == slot)
      }
      // Slots of the run count as allocated; those of a span without a run do not.
      let shelf = fixture.shelf(fixture.leaf)
      guard
        let fresh = fixture.heap.pageHeap.makeSpan(for: shelf, pageCount: 1, generation: .first)
      else { return #expect(Bool(false), "no span") }
      #expect(HeapSpan.lookUp(fresh.base, owner: owner) == nil)
      _ = fresh.takeRun(atMost: 1)
      #expect(HeapSpan.lookUp(fresh.base + 31, owner: owner) != nil)
      #expect(HeapSpan.lookUp(fresh.base + 32, owner: owner) == nil)
      _ = fresh.sweep(to: 2)
      fixture.heap.pageHeap.freeSpan(fresh)
      #expect(HeapSpan.lookUp(fresh.base, owner: owner) == nil, "a free page")
      // Behind the last slot: 170 of 48 bytes leave 32.
      #expect(HeapSpan.lookUp(span.base + 170 * 48, owner: owner) == nil)
      for word in [0, 1, node | 1 << 63, UInt.max, 1 << 48, node - 1 << 26] {
        #expect(HeapSpan.lookUp(word, owner: owner) == nil)
      }
      other.attached { stranger in
        let theirs = stranger.makeNode()
        #expect(HeapSpan.lookUp(theirs, owner: owner) == nil, "another heap's object")
        marking { $0.markConservatively(theirs) }
        #expect(!other.isMarked(theirs))
      }
    }
  }

  @Test("scanning reaches what nodes, arrays and ambiguous words refer to, to the last element")
  func scanning() {
    fixture.attached { program in
      let (root, array) = (program.makeNode(), program.makeArray(count: 100))
      let (left, right) = (program.makeNode(), program.makeNode())
      let (inside, leaf, last) = (program.makeNode(), program.makeLeaf(), program.makeNode())
      let unreachable = program.makeNode()
      program.initialize(root, HeapFixture.left, left)
      program.initialize(root, HeapFixture.right, array)
      program.initialize(root, HeapFixture.value, unreachable)
      program.initialize(root, HeapFixture.ambiguous, inside + 18)
      program.initialize(left, HeapFixture.right, right)
      program.initialize(array, 8, leaf)
      program.initialize(array, 8 + 99 * 8, last)
      marking { marker in
        marker.mark(root)
        while marker.scanNext() {}
      }
      #expect(marked == [root, array, left, right, inside, leaf, last])
      #expect(fixture.heap.marking.grey.isEmpty)
    }
  }

  @Test("an object that is marked already is not scanned again: what is behind it stays white")
  func black() {
    fixture.attached { program in
      let (black, white) = (program.makeNode(), program.makeNode())
      marking { marker in
        marker.mark(black)
        while marker.scanNext() {}
      }
      program.initialize(black, HeapFixture.left, white)
      marking { marker in
        marker.mark(black)
        while marker.scanNext() {}
      }
      #expect(marked == [black])
    }
  }

  @Test("a large array is scanned whole, by markers that share its pieces")
  func largeArray() {
    fixture.attached { program in
      let count = 100_000  // 800 KB: seven pieces.
      let array = program.makeArray(count: count)
      var nodes: [UInt] = []
      for i in stride(from: 0, to: count, by: 97) {
        let node = program.makeNode()
        program.initialize(array, 8 + 8 * i, node)
        nodes.append(node)
      }
      program.initialize(array, 8 + 8 * (count - 1), program.makeNode())
      var first = Marker(program.heap.marking)
      var second = Marker(program.heap.marking)
      first.mark(array)
      var turns = 0
      var isBusy = true
      while isBusy {
        let one = first.scanNext()
        first.settle()
        let two = second.scanNext()
        second.settle()
        isBusy = one || two
        turns += 1
      }
      #expect(turns >= 4)
      #expect(nodes.allSatisfy { fixture.isMarked($0) })
      #expect(fixture.counted.objects == nodes.count + 2)
    }
  }

  @Test("settling leaves a marker with nothing, and nothing is lost")
  func settling() {
    fixture.attached { program in
      let array = program.root(program.makeArray(count: 2000))
      for i in 0..<2000 { program.store(program.makeNode(), into: array.reference, 8 + 8 * i) }
      marking { marker in
        for i in 0..<2000 { marker.mark(program.load(array.reference, 8 + 8 * i)) }
        let hasScanned = marker.scanNext()
        let (grey, marked) = (marker.greyCount, marker.markedObjects)
        #expect(hasScanned && grey > 0 && marked > 0)
        marker.settle()
        let (left, unsettled) = (marker.greyCount, marker.markedObjects)
        #expect(left == 0 && unsettled == 0)
        #expect(!fixture.heap.marking.grey.isEmpty)
        #expect(fixture.counted.objects == 2000)
        while marker.scanNext() {}
        #expect(marker.greyCount == 0 && fixture.heap.marking.grey.isEmpty)
      }
    }
  }
}

extension SizeClass {
  fileprivate var slotSizeWord: UInt { UInt(slotSize) }
}
