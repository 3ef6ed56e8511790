// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the tests of spans, shelves, caches and the page heap stand on: a page heap of their
// own with central lists over it, and layouts made by hand.
//
// Nothing here is a mock: the spans are made of real pages. A fixture's heap ends with it.

import Heap
import Synchronization
import TestSupport
import Testing

/// A page heap and central lists.
struct SpanFixture {
  let pages: PageHeap
  let central: CentralLists

  init(byteLimit: Int? = nil, hugePages: PageHeap.HugePagePolicy = .system) throws {
    pages = try PageHeap(hugePages: hugePages, byteLimit: byteLimit)
    central = CentralLists(memory: pages.memory)
  }

  /// A layout of objects with references at the given offsets.
  func layout(size: Int, references: [Int] = [0]) throws -> HeapLayout {
    try HeapLayout.make(
      .init(kind: .object, size: size, alignment: 8, references: references),
      identifier: 0, in: pages.memory)
  }

  /// A new layout's shelf in the class of its size, or in a class of the caller's choice.
  func shelf(
    size: Int, references: [Int] = [0], in sizeClass: SizeClass? = nil
  ) throws -> SpanShelf {
    let layout = try layout(size: size, references: references)
    return try central.shelf(
      for: layout, in: sizeClass ?? SizeClass.of(size: size) ?? .large)
  }

  /// A fresh span of a shelf.
  func span(on shelf: SpanShelf, generation: Generation = 2) throws -> HeapSpan {
    let sizeClass = shelf.spanClass.sizeClass
    let count = sizeClass.isLarge ? 5 : sizeClass.spanPages
    return try #require(pages.makeSpan(for: shelf, pageCount: count, generation: generation))
  }

  /// A fresh span of slots of a size.
  func span(size: Int, references: [Int] = [0]) throws -> HeapSpan {
    try span(on: shelf(size: size, references: references))
  }

  /// What `checkInvariants` says of the page heap.
  var problems: [String] { reports { pages.checkInvariants($0) } }
}

/// Everything that a `checkInvariants` reports.
func reports(_ check: ((String) -> Void) -> Void) -> [String] {
  var found: [String] = []
  check { found.append($0) }
  return found
}

extension HeapSpan {
  /// Makes the `allocated` bits what a model says, as a sweep would have done.
  func setAllocated(_ slots: [Bool]) {
    for word in 0..<wordCount { unsafe allocated[word].store(0, ordering: .relaxed) }
    for (slot, isUsed) in slots.enumerated() where isUsed {
      let (word, mask) = bit(ofSlot: slot)
      _ = unsafe allocated[word].bitwiseOr(mask, ordering: .relaxed)
    }
    allocatedCount = slots.filter { $0 }.count
    freeIndex = 0
  }

  /// Takes the next run, if there is one.
  func takeRun(atMost limit: Int = .max) -> SlotRange? {
    guard let run = nextRun(atMost: limit) else { return nil }
    take(run)
    return run
  }

  func setMark(_ slot: Int) {
    let (word, mask) = bit(ofSlot: slot)
    _ = unsafe marks[word].bitwiseOr(mask, ordering: .relaxed)
  }

  func clearMarks() {
    for word in 0..<wordCount { unsafe marks[word].store(0, ordering: .relaxed) }
  }

  /// The slots that some bits of a word belong to.
  func slots(ofWord word: Int, _ bits: UInt) -> [Int] {
    (0..<64).filter { bits & 1 << UInt($0) != 0 }.map { slot(ofGranule: word * 64 + $0) }
  }

  /// Whether every bit of all three bitmaps is clear.
  var hasCleanBits: Bool {
    (0..<wordCount).allSatisfy { word in
      unsafe marks[word].load(ordering: .relaxed) == 0
        && allocated[word].load(ordering: .relaxed) == 0
        && held[word].load(ordering: .relaxed) == 0
    }
  }

  /// Frees all slots of a span, as a sweep without marks does, and gives the pages back.
  func freeAll(to pages: PageHeap) {
    _ = sweep(to: generation)
    pages.freeSpan(self)
  }
}

/// Writes a word of a heap's memory.
func write(_ value: UInt, at address: UInt) {
  // SAFETY: the tests give addresses of spans that they own.
  unsafe UnsafeMutablePointer<UInt>(bitPattern: address).unsafelyUnwrapped.pointee = value
}

/// Reads a word of a heap's memory or tables.
func word(at address: UInt) -> UInt {
  // SAFETY: as above.
  unsafe UnsafePointer<UInt>(bitPattern: address).unsafelyUnwrapped.pointee
}
