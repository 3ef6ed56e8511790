// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Stores of many words while the heap is being marked.
//
// What is stored has been recorded, even if the source changes meanwhile. The source of these
// copies is plain memory that a thread without a mutator keeps changing, as stores do that began
// before the barrier flag went up. The test is the collector, too: all stacks have been scanned,
// and nothing has been read yet. The nodes were made before, and nobody refers to them. So a node that
// is marked has been recorded. (A stale word on the stack may have marked one or the other.)

import Collector
import Glibc
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

/// A word with a payload, and a tag behind it.
private enum Choice {
  case link(HeapRef<TestNode>)
  case number(Int)
  case nothing
}

/// The tag of the enum lies in front of another field, in the same word.
private struct Tagged: HeapObject {
  var choice = Choice.nothing
  var after: UInt8 = 0
}

/// Larger than the buffer of a copy.
private struct Long {
  var links = InlineArray<200, HeapRef<TestNode>?>(repeating: nil)
}

@Suite(.serialized) struct RecordedStoreTests {
  // MARK: - A source that changes

  /// Words that a thread keeps changing: each is now one value, now zero.
  @safe private final class ChangingWords: @unchecked Sendable {
    // Sendable: the words are atomic, the rest is constant.
    private let words: UnsafeMutablePointer<Atomic<UInt>>
    /// How often all words have changed.
    let changes = Atomic<Int>(0)
    private let isDone = Atomic<Bool>(false)
    private let count: Int

    init(count: Int) {
      self.count = count
      unsafe words = .allocate(capacity: count)
      for word in 0..<count { unsafe (words + word).initialize(to: Atomic(0)) }
    }

    deinit { unsafe words.deallocate() }

    func elements<Element>(_ type: Element.Type, _ count: Int) -> UnsafeBufferPointer<Element> {
      let start = unsafe UnsafeRawPointer(words).assumingMemoryBound(to: Element.self)
      return unsafe UnsafeBufferPointer(start: start, count: count)
    }

    /// Runs `body` while a thread changes the words at these places.
    func changing(_ values: [(place: Int, word: UInt)], _ body: () -> Void) {
      isDone.store(false, ordering: .relaxed)
      let thread = TestThread { [self] in
        while !isDone.load(ordering: .relaxed) {
          for (place, word) in values { unsafe words[place].store(word, ordering: .relaxed) }
          for (place, _) in values { unsafe words[place].store(0, ordering: .relaxed) }
          changes.add(1, ordering: .relaxed)
        }
      }
      let start = changes.load(ordering: .relaxed)
      while changes.load(ordering: .relaxed) == start { sched_yield() }
      body()
      isDone.store(true, ordering: .relaxed)
      thread.join()
    }
  }

  /// Copies changing elements into arrays while the heap marks, until the elements have changed
  /// during some copies. Returns how many nodes were stored, and how many of them were not recorded.
  ///
  /// - Parameters:
  ///   - empty: an element that refers to nothing.
  ///   - links: which words of an element change.
  private static func copy<Element>(
    _ count: Int, of empty: Element, links: Range<Int>
  ) throws -> (stored: Int, lost: Int) {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    let stride = MemoryLayout<Element>.stride / 8
    let source = ChangingWords(count: count * stride)
    let places = (0..<count).flatMap { element in links.map { element * stride + $0 } }
    return heap.withMutator { mutator in
      var (stored, lost, copies) = (0, 0, 0)
      for _ in 0..<20 where copies < 20 {
        // Each copy has its own nodes: a node is recorded once and for all.
        let values = (0..<10).map { _ in
          places.map { (place: $0, word: address(mutator.allocate(TestNode()))) }
        }
        begin(heap)
        for values in values {
          let target = mutator.allocateArray(of: Element.self, count: count, repeating: empty)
          source.changing(values) {
            let start = source.changes.load(ordering: .relaxed)
            unsafe target.update(from: source.elements(Element.self, count))
            if source.changes.load(ordering: .relaxed) != start { copies += 1 }
          }
          // No safepoint since: what was recorded is in the buffer, or marked.
          mutator.attached.flushBarrier()
          for (place, node) in values {
            let word = unsafe target.elements.load(fromByteOffset: place * 8, as: UInt.self)
            guard word == node else { continue }
            stored += 1
            if !isMarked(node, heap) { lost += 1 }
          }
        }
        end(heap)
      }
      #expect(copies > 0, "the source did not change during any copy")
      return (stored, lost)
    }
  }

  private static func address<Object>(_ reference: HeapRef<Object>) -> UInt {
    UInt(bitPattern: unsafe reference._raw)
  }

  private static func isMarked(_ object: UInt, _ heap: ManagedHeap) -> Bool {
    guard let (span, slot) = HeapSpan.lookUp(object, owner: heap.core.pageHeap.owner) else {
      return false
    }
    return span.isMarked(slot)
  }

  private static func begin(_ heap: ManagedHeap) {
    CollectedHeap.blocking {
      let cycle = heap.core.cycle
      cycle.finishSweeping()
      cycle.beginMarking(.full, forced: true)
      cycle.raiseBarrier()
      cycle.scanCards(.full)
      cycle.scanStacksAndRoots()
    }
  }

  private static func end(_ heap: ManagedHeap) {
    CollectedHeap.blocking {
      let cycle = heap.core.cycle
      cycle.terminateMarking()
      cycle.lowerBarrier()
      cycle.advanceGeneration(.full)
      cycle.finishSweeping()
    }
  }

  @Test("what a copy stores has been recorded, though the source changes meanwhile")
  func references() throws {
    let (stored, lost) = try Self.copy(500, of: nil as HeapRef<TestNode>?, links: 0..<1)
    #expect(stored > 0 && lost == 0)
  }

  @Test("so have words that may be references")
  func ambiguous() throws {
    let (stored, lost) = try Self.copy(250, of: Choice.nothing, links: 0..<1)
    #expect(stored > 0 && lost == 0)
  }

  @Test("so have the references in elements that are larger than the copy's buffer")
  func long() throws {
    let (stored, lost) = try Self.copy(3, of: Long(), links: 0..<200)
    #expect(stored > 0 && lost == 0)
  }

  @Test("so have the references beside what ARC manages, the old one and the new one")
  func owned() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      func node() -> HeapRef<Mixed> { mutator.allocate(Mixed(name: OwnedValuesTests.text(1))) }
      let roots = (0..<20).map { _ in HeapRoot(node(), in: mutator) }
      let (old, new) = (
        roots.map { _ in Self.address(node()) }, roots.map { _ in Self.address(node()) }
      )
      func reference(_ address: UInt) -> HeapRef<Mixed> {
        unsafe HeapRef(_raw: UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped)
      }
      for (root, old) in zip(roots, old) { root.get(in: mutator).pair = ("old", reference(old)) }
      Self.begin(heap)
      for (root, new) in zip(roots, new) { root.get(in: mutator).pair = ("new", reference(new)) }
      mutator.attached.flushBarrier()
      #expect(old.allSatisfy { Self.isMarked($0, heap) })
      #expect(new.allSatisfy { Self.isMarked($0, heap) })
      Self.end(heap)
      #expect(roots.allSatisfy { $0.get(in: mutator).pair.text == "new" })
    }
  }

  // MARK: - Values

  // In checked mode the barrier flag is always up.

  @Test("elements keep their order when they are copied to a place that overlaps theirs")
  func overlapping() throws {
    let heap = try HeapCheck.heap { $0.checks = .on }
    heap.withMutator { mutator in
      for (from, to) in [(0, 1), (1, 0), (0, 200), (200, 0), (100, 100)] {
        let array = mutator.allocateArray(
          of: HeapRef<TestNode>?.self, count: 1000, repeating: nil)
        for key in 0..<1000 { array[key] = mutator.allocate(TestNode(key: key)) }
        var expected = array.map { $0?.key }
        expected.replaceSubrange(to..<to + 800, with: expected[from..<from + 800])
        array.copy(range: from..<from + 800, to: to)
        #expect(array.map { $0?.key } == expected)
      }
    }
  }

  @Test("a field that begins in the last word of a stored one is left alone")
  func neighbours() throws {
    let heap = try HeapCheck.heap { $0.checks = .on }
    heap.withMutator { mutator in
      let node = mutator.allocate(TestNode(key: 5))
      let tagged = mutator.allocate(Tagged())
      tagged.after = 77
      tagged.choice = .number(1)
      #expect(tagged.after == 77)
      tagged.choice = .link(node)
      #expect(tagged.after == 77)
      guard case .link(let found) = tagged.choice else {
        Issue.record("the tag was not stored")
        return
      }
      #expect(found == node)
    }
  }

  @Test("a value that is larger than a copy's buffer is stored whole")
  func large() throws {
    let heap = try HeapCheck.heap { $0.checks = .on }
    heap.withMutator { mutator in
      let array = mutator.allocateArray(of: Long.self, count: 3, repeating: Long())
      var value = Long()
      for i in 0..<200 { value.links[i] = mutator.allocate(TestNode(key: i)) }
      array[0] = value
      array.copy(range: 0..<2, to: 1)
      for i in 0..<200 {
        #expect(array[1].links[i]?.key == i && array[2].links[i] == nil)
      }
    }
  }
}
