// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The verifier: after marking, with every mutator standing still, is it true?
//
//   1. every root slot refers to a marked object
//   2. every reference of a marked object refers to an allocated and marked object
//   3. marking again from the roots and the stacks, into bitmaps of its own, reaches no
//      unmarked object
//   4. the marked bytes and objects, counted over all spans, are exactly what the markers
//      have counted
//   5. every weak reference that is known is marked, and so is its target, unless it is nil; so are
//      the key and the box of every entry of an ephemeron map, and the object of every cleanup that
//      waits
//
// Rule 2 holds for all marked objects, garbage that floats included, so it does not depend on
// what the verifier takes for reachable. Rule 3 follows references only from stack words whose
// target is marked. A stale word may well lead to a white object (it came to lie above the
// stack pointer after its thread was scanned), which proves nothing.
//
// And before a minor cycle:
//
//   6. every reference of an old object to a young one lies on a dirty card
//
// The verifier stops the threads of the heap for as long as it works: for tests and checked mode
// only.

internal import CHeapShims
package import Heap
internal import Synchronization

/// Checks the marks of a cycle.
package final class Verifier: Sendable {
  private let central: CentralLists
  private let handshakes: Handshakes
  private let roots: RootTable
  private let weak: WeakTable
  private let ephemerons: EphemeronTable
  private let cleanups: CleanupTable
  private let counters: HeapCounters
  private let layouts: LayoutCatalog
  private let owner: UInt
  /// Processor time that verifying has taken, in nanoseconds.
  private let nanoseconds = Atomic<Int>(0)

  init(
    central: CentralLists, handshakes: Handshakes, roots: RootTable, weak: WeakTable,
    ephemerons: EphemeronTable, cleanups: CleanupTable, counters: HeapCounters,
    layouts: LayoutCatalog, owner: UInt
  ) {
    self.central = central
    self.handshakes = handshakes
    self.roots = roots
    self.weak = weak
    self.ephemerons = ephemerons
    self.cleanups = cleanups
    self.counters = counters
    self.layouts = layouts
    self.owner = owner
  }

  /// Checks the marks of the cycle under way, and stops the program if they are wrong. After
  /// `lowerBarrier`, before `advanceGeneration`.
  package func verify() {
    var problems: [String] = []
    whileParked {
      checkClosure { if problems.count < 10 { problems.append($0) } }
      checkReachable { if problems.count < 10 { problems.append($0) } }
      checkWeak { if problems.count < 10 { problems.append($0) } }
    }
    if problems.isEmpty { return }
    StoreCheck.failure("marking is wrong: " + problems.joined(separator: "; "))
  }

  /// Checks the cards before a minor cycle, and stops the program if one is missing. Before
  /// `raiseBarrier`: from then on stores are recorded, and set no cards.
  package func verifyCards() {
    var problems: [String] = []
    whileParked { checkCards { if problems.count < 10 { problems.append($0) } } }
    if problems.isEmpty { return }
    StoreCheck.failure("cards are missing: " + problems.joined(separator: "; "))
  }

  private func whileParked(_ body: () -> Void) {
    let start = heap_thread_cpu()
    handshakes.whileParked(body)
    nanoseconds.add(Int(heap_thread_cpu() - start), ordering: .relaxed)
  }

  /// Processor time that the collector's thread has spent on verifying, in nanoseconds.
  var time: Int { nanoseconds.load(ordering: .relaxed) }

  // MARK: - Rules

  /// Rule 5.
  private func checkWeak(_ report: (String) -> Void) {
    weak.forEach { cell, target in
      let name = "a weak reference at \(StoreCheck.hex(cell))"
      if !isMarked(cell) { report("\(name) is known, and is not marked") }
      if target != 0, !isMarked(target) {
        report("\(name) leads to \(StoreCheck.hex(target)), which is not marked")
      }
    }
    ephemerons.forEach { entry in
      for word in [entry.address, entry.key, entry.box] where !isMarked(word) {
        report(
          "an entry of an ephemeron map at \(StoreCheck.hex(entry.address)) has "
            + "\(StoreCheck.hex(word)), which is not marked")
      }
    }
    cleanups.forEachTarget { target in
      if !isMarked(target) {
        report("a cleanup waits for \(StoreCheck.hex(target)), which is not marked")
      }
    }
  }

  /// Whether an address is that of an object, and that is marked.
  private func isMarked(_ address: UInt) -> Bool {
    HeapSpan.lookUp(address, owner: owner).map { $0.span.isMarked($0.slot) } ?? false
  }

  /// Rule 6.
  private func checkCards(_ report: (String) -> Void) {
    forEachSpan { span in
      for slot in 0..<span.slotCount where span.isMarked(slot) {
        let address = span.address(ofSlot: slot)
        forEachReference(of: address, span.layout) { offset, reference in
          guard let (target, number) = HeapSpan.lookUp(reference, owner: owner),
            !target.isMarked(number), !CardTable.isDirty(address + UInt(offset))
          else { return }
          report(
            "\(place(offset, of: address, span.layout)), which is old, refers to a young "
              + "\(layouts.name(of: target.layout)) at \(StoreCheck.hex(reference)), and the card "
              + "is clean")
        }
      }
    }
  }

  /// Rules 1, 2 and 4.
  private func checkClosure(_ report: (String) -> Void) {
    for root in roots.references { checkReference(root, from: "a root", report) }
    var bytes = 0
    var objects = 0
    forEachSpan { span in
      span.forEachMarked { slot in
        objects += 1
        bytes += Int(span.slotSize)
        let address = span.address(ofSlot: slot)
        guard span.isAllocated(slot) else {
          report(
            "a free slot is marked: \(StoreCheck.hex(address)) of \(layouts.name(of: span.layout))")
          return
        }
        forEachReference(of: address, span.layout) { offset, reference in
          checkReference(reference, from: place(offset, of: address, span.layout), report)
        }
      }
    }
    let counted = counters.markedBytes.load(ordering: .relaxed)
    if counted != bytes { report("\(bytes) bytes are marked, counted were \(counted)") }
    let countedObjects = counters.markedObjects.load(ordering: .relaxed)
    if countedObjects != objects {
      report("\(objects) objects are marked, counted were \(countedObjects)")
    }
  }

  /// A field as a message names it.
  private func place(_ offset: Int, of object: UInt, _ layout: HeapLayout) -> String {
    "\(layouts.field(of: layout, at: offset)) of a \(layouts.name(of: layout)) at "
      + StoreCheck.hex(object)
  }

  private func checkReference(
    _ reference: UInt, from place: @autoclosure () -> String, _ report: (String) -> Void
  ) {
    guard let (span, slot) = HeapSpan.lookUp(reference, owner: owner) else {
      return report(
        "\(place()) refers to " + ReferenceCheck.explain(reference, owner: owner, layouts))
    }
    if !span.isMarked(slot) {
      report(
        "\(place()) refers to a \(layouts.name(of: span.layout)) at \(StoreCheck.hex(reference)) "
          + "that is not marked")
    }
  }

  /// Rule 3.
  private func checkReachable(_ report: (String) -> Void) {
    var found: [HeapSpan: [Bool]] = [:]
    var work: [(HeapSpan, Int)] = []
    func reach(_ word: UInt) {
      guard let (span, slot) = HeapSpan.lookUp(word, owner: owner) else { return }
      // Changed in place.
      let isNew = found[span, default: Array(repeating: false, count: span.slotCount)][slot].set()
      if isNew { work.append((span, slot)) }
    }
    for root in roots.references { reach(root) }
    handshakes.registry.forEach { mutator, _ in
      let state = unsafe mutator.state
      guard unsafe state.pointee.stackPointer != 0 else { return }
      var address = unsafe state.pointee.stackPointer.aligned(up: 8)
      while unsafe address < state.pointee.stackBase {
        let word = heap_load_word(address)
        if let (span, slot) = HeapSpan.lookUp(word, owner: owner), span.isMarked(slot) {
          reach(word)
        }
        address += 8
      }
    }
    while let (span, slot) = work.popLast() {
      let address = span.address(ofSlot: slot)
      if !span.isMarked(slot) {
        report(
          "a reachable \(layouts.name(of: span.layout)) at \(StoreCheck.hex(address)) is not marked"
        )
      }
      forEachReference(of: address, span.layout) { _, reference in reach(reference) }
    }
  }

  // MARK: - Walking

  /// Calls `body` with every span that has objects.
  /// - Precondition: no thread allocates or sweeps.
  package func forEachSpan(_ body: (HeapSpan) -> Void) {
    for shelf in central.shelves() { shelf.forEach(body) }
    handshakes.registry.forEach { mutator, _ in
      unsafe mutator.state.pointee.cache.forEachSpan { entry in
        if let span = unsafe entry.pointee.span { body(span) }
      }
    }
  }

  /// Calls `body` with every reference of an object that leads to one.
  ///
  /// An ambiguous word counts if the enum that it lies in says that it is a reference. After
  /// marking has ended, a store may have put any number into the payload of an enum, and that
  /// number may look like a reference to garbage. Enums without an address of any heap in their
  /// ambiguous words are not asked. Of layouts whose enums are not known, a word
  /// counts if it points at an allocated slot.
  package func forEachReference(
    of object: UInt, _ layout: HeapLayout, _ body: (_ offset: Int, _ reference: UInt) -> Void
  ) {
    guard !layout.isNoscan else { return }
    layout.forEachPreciseReference(of: object, body)
    forEachAmbiguousReference(of: object, layout, body)
  }

  private func forEachAmbiguousReference(
    of object: UInt, _ layout: HeapLayout, _ body: (_ offset: Int, _ reference: UInt) -> Void
  ) {
    if let header = layout.header {
      let start = layout.headerOffset
      forEachAmbiguousReference(of: object + start, header) { body(Int(start) + $0, $1) }
    }
    guard unsafe !layout.ambiguous.isEmpty else { return }
    guard let enumReferences = layouts.enumReferences(of: layout) else {
      return layout.forEachAmbiguousWord(of: object) { offset, word in
        if HeapSpan.lookUp(word, owner: owner) != nil { body(offset, word) }
      }
    }
    layout.forEachValue(of: object) { start in
      // Cheap, and most values of an enum are no references.
      guard layout.mayRefer(object + UInt(start)) else { return }
      enumReferences(object + UInt(start)) { offset, word in
        if ReferenceWord.isReference(word) { body(start + offset, word) }
      }
    }
  }

  // MARK: - Invariants

  /// Reports what is wrong with any structure of the heap.
  /// - Precondition: no thread allocates, and nothing is being collected.
  func checkInvariants(of pageHeap: PageHeap, _ report: (String) -> Void) {
    pageHeap.checkInvariants(report)
    central.checkInvariants(report)
    handshakes.registry.forEach { mutator, _ in
      unsafe mutator.state.pointee.cache.checkInvariants(report)
    }
    weak.checkInvariants(owner: owner, report)
    ephemerons.checkInvariants(owner: owner, report)
    cleanups.checkInvariants(owner: owner, report)
    var spans = 0
    forEachSpan { _ in spans += 1 }
    let usage = pageHeap.usage
    if spans != usage.spanCount {
      report("\(spans) spans are on shelves and in caches, the page heap counts \(usage.spanCount)")
    }
  }
}

extension HeapSpan {
  /// Calls `body` with every slot that is marked.
  fileprivate func forEachMarked(_ body: (_ slot: Int) -> Void) {
    for word in 0..<wordCount {
      var bits = unsafe marks[word].load(ordering: .relaxed)
      while bits != 0 {
        body(slot(ofGranule: word << 6 + bits.trailingZeroBitCount))
        bits &= bits - 1
      }
    }
  }
}

extension HeapLayout {
  /// Whether an ambiguous word of a value is an address in an arena of any heap.
  fileprivate func mayRefer(_ value: UInt) -> Bool {
    for i in unsafe ambiguous.indices {
      let word = heap_load_word(value + UInt(unsafe ambiguous[i]))
      if ReferenceWord.isReference(word), ArenaTables.find(word) != nil { return true }
    }
    return false
  }
}

extension Bool {
  /// Becomes true; whether it was false.
  fileprivate mutating func set() -> Bool {
    defer { self = true }
    return !self
  }
}
