// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Large objects: over 32 KiB, a span each, straight from the page heap.
//
// The memory is zeroed (if the layout has references and the pages are not fresh from the
// system) in pieces with a safepoint after each, so a gigabyte delays no handshake. Until
// the object is handed to the caller its span is on no list, its slot is not allocated and
// nothing refers to it: the collector does not know it. It gets its colour and generation
// last, when there is no safepoint left before the caller has it.

internal import CHeapShims
package import Heap
internal import Synchronization

extension CollectedHeap {
  /// Bytes zeroed between two safepoints.
  private static var zeroPiece: Int { 256 << 10 }

  /// The address of `size` bytes of a layout, zeroed unless noscan; nil without memory.
  package func allocateLarge(
    _ mutator: AttachedMutator, shelf: SpanShelf, size: Int
  ) -> UInt? {
    guard let pageCount = Geometry.pages(toHold: size), pageCount <= Int(UInt32.max) else {
      return nil
    }
    let bytes = pageCount * Geometry.pageSize
    let state = unsafe mutator.state
    unsafe state.pointee.unaccountedBytes += bytes
    if unsafe state.pointee.words.pointee.isMarking.load(ordering: .relaxed) != 0 {
      unsafe state.pointee.assistDebt += bytes
    }
    poll(mutator)
    var span = makeLarge(mutator, shelf, pageCount)
    for _ in 0..<2 where span == nil {
      collectAndWait()
      span = makeLarge(mutator, shelf, pageCount)
    }
    guard let span else {
      unsafe state.pointee.unaccountedBytes -= bytes
      return nil
    }
    if span.needsZero && !span.layout.isNoscan {
      zero(span, size: size, mutator)
    }
    // No safepoint from here on.
    span.sweepGeneration = unsafe state.pointee.generation
    let slot = SlotRange(start: 0, end: 1)
    if unsafe state.pointee.allocatesBlack { blacken(slot, of: span) }
    span.take(slot)
    unsafe state.pointee.takenBytes += bytes
    unsafe state.pointee.takenSlots += 1
    shelf.countObjects(1)
    shelf.put(span)
    return span.base
  }

  private func makeLarge(
    _ mutator: AttachedMutator, _ shelf: SpanShelf, _ pageCount: Int
  ) -> HeapSpan? {
    pageHeap.makeSpan(
      for: shelf, pageCount: pageCount, generation: unsafe mutator.state.pointee.generation)
  }

  private func zero(_ span: HeapSpan, size: Int, _ mutator: AttachedMutator) {
    var done = 0
    while done < size {
      let length = min(Self.zeroPiece, size - done)
      // SAFETY: pages of a span that nobody else knows.
      unsafe UnsafeMutableRawPointer(bitPattern: span.base + UInt(done)).unsafelyUnwrapped
        .initializeMemory(as: UInt8.self, repeating: 0, count: length)
      done += length
      if done < size { safepoint(mutator) }
    }
  }
}
