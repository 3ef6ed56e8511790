// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// From addresses and slots to bits, for every class: one bit wrong is another object marked.

import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Bits of slots")
struct SlotBitsTests {
  let fixture: SpanFixture

  init() throws { fixture = try SpanFixture() }

  /// Calls `body` with a span of each small class.
  private func forEachClass(_ body: (HeapSpan) throws -> Void) throws {
    for sizeClass in SizeClass.small {
      try body(fixture.span(on: fixture.shelf(size: sizeClass.slotSize, in: sizeClass)))
    }
  }

  @Test("an object's mark bit, by its address alone, is its slot's, and no other slot's")
  func markBits() throws {
    try forEachClass { span in
      var seen = Set<MarkBit>()
      for slot in 0..<span.slotCount {
        let mark = MarkBit(of: span.address(ofSlot: slot))
        let (word, mask) = span.bit(ofSlot: slot)
        #expect(mark.word == UInt(bitPattern: unsafe span.marks + word))
        #expect(1 << mark.bit == mask && word < span.wordCount)
        #expect(seen.insert(mark).inserted, "slot \(slot) of \(span.slotSize) bytes")
      }
      // The bit is the slot's, whoever sets it.
      let last = MarkBit(of: span.address(ofSlot: span.slotCount - 1))
      #expect(!last.isSet && !last.testAndSet())
      #expect(last.isSet && last.testAndSet() && span.isMarked(span.slotCount - 1))
      #expect((0..<span.slotCount - 1).allSatisfy { !span.isMarked($0) })
    }
  }

  @Test("a large object has one bit, that of its first bytes, however many arenas it lies in")
  func large() throws {
    let shelf = try fixture.shelf(size: 40_000)
    let count = 2 * Geometry.pagesPerArena + 1
    let span = try #require(fixture.pages.makeSpan(for: shelf, pageCount: count, generation: 2))
    #expect(span.wordCount == 1)
    #expect(MarkBit(of: span.base).word == UInt(bitPattern: unsafe span.marks))
    #expect(MarkBit(of: span.base).bit == 0)
    var words: [[UInt]] = []
    span.forEachWord(of: SlotRange(start: 0, end: 1)) { words.append([UInt($0), $1]) }
    #expect(words == [[0, 1]])
    #expect(span.address(ofGranule: 0) == span.base && span.slot(ofGranule: 0) == 0)
  }

  @Test("a tiny value has the bit of the 16 bytes that it shares")
  func tiny() throws {
    let span = try fixture.span(size: 16)
    for offset in 0..<16 as Range<UInt> {
      #expect(MarkBit(of: span.base + 32 + offset) == MarkBit(of: span.base + 32))
    }
  }

  @Test("a granule leads back to the slot that starts in it")
  func granules() throws {
    try forEachClass { span in
      for slot in 0..<span.slotCount {
        let granule = span.granule(ofSlot: slot)
        #expect(granule == slot * Int(span.slotSize) / 16)
        #expect(span.slot(ofGranule: granule) == slot)
        #expect(span.address(ofGranule: granule) == span.address(ofSlot: slot))
      }
    }
  }

  @Test("a range of slots visits each of its bits once, a word at a time, and none without bits")
  func ranges() throws {
    var random = RandomNumbers("ranges")
    try forEachClass { span in
      for round in 0..<40 {
        let count = span.slotCount
        let start = round == 0 ? 0 : Int.random(in: 0...count, using: &random)
        let end = round == 0 ? count : Int.random(in: start...count, using: &random)
        var seen: [Int] = []
        var lastWord = -1
        span.forEachWord(of: SlotRange(start: start, end: end)) { word, mask in
          #expect(word > lastWord && mask != 0)
          lastWord = word
          for bit in 0..<64 where mask & 1 << UInt(bit) != 0 {
            seen.append(word * 64 + bit)
          }
        }
        #expect(seen == (start..<end).map { span.granule(ofSlot: $0) })
      }
    }
  }

  @Test("the bits below a slot are those of the slots before it")
  func below() throws {
    try forEachClass { span in
      for slot in [0, 1, span.slotCount / 2, span.slotCount] where slot <= span.slotCount {
        var before = 0
        for word in 0..<span.wordCount {
          span.forEachWord(of: SlotRange(start: 0, end: span.slotCount)) {
            if $0 == word { before += ($1 & span.bits(below: slot, inWord: word)).nonzeroBitCount }
          }
        }
        #expect(before == slot)
      }
    }
  }
}
