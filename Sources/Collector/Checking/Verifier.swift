// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The verifier: after marking, with every mutator parked, is it true?
//
//   1. every root slot refers to a marked object
//   2. every reference of a marked object refers to an allocated and marked object
//   3. marking again from the roots and the stacks, into a bitmap of its own, reaches no
//      unmarked object
//   4. the marked bytes and objects, counted over all spans, are exactly what the markers
//      have counted
//
// 2 holds for all marked objects, garbage that floats included, so it does not depend on
// what the verifier thinks is reachable. 3 follows references only from stack words whose
// target is marked: a stale word may well lead to a white object (it came to lie above the
// stack pointer after its thread was scanned), which proves nothing.
//
// It stops the threads of the heap, one cycle long: for tests and checked mode only.

internal import CHeapShims
package import Heap
internal import Synchronization

extension CollectedHeap {
  /// Checks the marks of the cycle under way, and stops the program if they are wrong.
  package func verify() {
    let served = park()
    defer { release(served) }
    var problems: [String] = []
    checkClosure { if problems.count < 10 { problems.append($0) } }
    checkReachable { if problems.count < 10 { problems.append($0) } }
    if problems.isEmpty { return }
    StoreCheck.failure("marking is wrong: " + problems.joined(separator: "; "))
  }

  // MARK: - Parking

  /// Brings every mutator to a stop; those that were blocked.
  private func park() -> [AttachedMutator] {
    parked.set(0)
    handshakes.isParked.set(1)
    let served = post(.park) { _ in }
    while true {
      let now = parked.value
      if now >= handshakes.outstanding.value { break }
      parked.wait(while: now, atMost: 1_000_000)
    }
    return served
  }

  private func release(_ served: [AttachedMutator]) {
    handshakes.isParked.set(0)
    for mutator in served { letGo(mutator) }
    while handshakes.outstanding.value != 0 { heap_pause() }
  }

  // MARK: - Rules

  /// Rules 1, 2 and 4.
  private func checkClosure(_ report: (String) -> Void) {
    for root in roots.references { checkReference(root, from: "a root", report) }
    var bytes = 0
    var objects = 0
    forEachSpan { span in
      for slot in 0..<span.slotCount where span.isMarked(slot) {
        objects += 1
        bytes += Int(span.slotSize)
        let address = span.address(ofSlot: slot)
        guard span.isAllocated(slot) else {
          report("a free slot is marked: \(StoreCheck.hex(address)) of \(name(of: span.layout))")
          continue
        }
        forEachReference(of: address, span.layout) {
          checkReference(
            $0, from: "a \(name(of: span.layout)) at \(StoreCheck.hex(address))", report)
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

  private func checkReference(_ reference: UInt, from place: String, _ report: (String) -> Void) {
    guard let (span, slot) = Marker.lookUp(reference, owner: pageHeap.owner) else {
      return report("\(place) refers to \(StoreCheck.hex(reference)), which is not allocated")
    }
    if !span.isMarked(slot) {
      report(
        "\(place) refers to a \(name(of: span.layout)) at \(StoreCheck.hex(reference)) "
          + "that is not marked")
    }
  }

  /// Rule 3.
  private func checkReachable(_ report: (String) -> Void) {
    var found: [HeapSpan: [UInt]] = [:]
    var work: [(HeapSpan, Int)] = []
    func reach(_ word: UInt) {
      guard let (span, slot) = Marker.lookUp(word, owner: pageHeap.owner) else { return }
      let bit = HeapSpan.bit(slot)
      var words = found.removeValue(forKey: span) ?? Array(repeating: 0, count: span.wordCount)
      let isNew = words[slot >> 6] & bit == 0
      words[slot >> 6] |= bit
      found[span] = words
      guard isNew else { return }
      work.append((span, slot))
    }
    for root in roots.references { reach(root) }
    registry.withLock { registry in
      for mutator in registry.mutators {
        let state = unsafe mutator.state
        var address = unsafe state.pointee.stackPointer.aligned(up: 8)
        while unsafe address < state.pointee.stackBase {
          let word = heap_load_word(address)
          if let (span, slot) = Marker.lookUp(word, owner: pageHeap.owner), span.isMarked(slot) {
            reach(word)
          }
          address += 8
        }
      }
    }
    while let (span, slot) = work.popLast() {
      let address = span.address(ofSlot: slot)
      if !span.isMarked(slot) {
        report("a reachable \(name(of: span.layout)) at \(StoreCheck.hex(address)) is not marked")
      }
      forEachReference(of: address, span.layout, reach)
    }
  }

  // MARK: - Walking

  /// Calls `body` with every span that has objects.
  /// - Precondition: no thread allocates or sweeps.
  package func forEachSpan(_ body: (HeapSpan) -> Void) {
    for shelf in central.shelves() { shelf.forEach(body) }
    registry.withLock { registry in
      for mutator in registry.mutators {
        unsafe mutator.state.pointee.cache.forEachSpan { entry in
          if let span = unsafe entry.pointee.span { body(span) }
        }
      }
    }
  }

  /// Calls `body` with every precise reference of an object that is not zero, and with every
  /// ambiguous word that points at an allocated slot.
  package func forEachReference(of object: UInt, _ layout: HeapLayout, _ body: (UInt) -> Void) {
    func fields(_ start: UInt) {
      for i in unsafe layout.references.indices {
        let offset = unsafe layout.references[i]
        let word = heap_load_word(start + UInt(offset))
        if word != 0 { body(word) }
      }
      for i in unsafe layout.ambiguous.indices {
        let offset = unsafe layout.ambiguous[i]
        let word = heap_load_word(start + UInt(offset))
        if Marker.lookUp(word, owner: pageHeap.owner) != nil { body(word) }
      }
    }
    guard !layout.isNoscan else { return }
    switch layout.kind {
    case .object: fields(object)
    case .array:
      for i in 0..<heap_load_word(object) {
        fields(object + layout.elementsOffset + i * layout.size)
      }
    }
  }

  /// Reports what is wrong with any structure of the heap.
  /// - Precondition: no thread allocates, and nothing is being collected.
  package func checkInvariants(_ report: (String) -> Void) {
    pageHeap.checkInvariants(report)
    central.checkInvariants(report)
    registry.withLock { registry in
      for mutator in registry.mutators {
        unsafe mutator.state.pointee.cache.checkInvariants(report)
      }
    }
    var spans = 0
    forEachSpan { _ in spans += 1 }
    let usage = pageHeap.usage
    if spans != usage.spanCount {
      report("\(spans) spans are on shelves and in caches, the page heap counts \(usage.spanCount)")
    }
  }
}
