// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Large objects: over 32 KiB, a span each, straight from the page heap.
//
// A thread that allocates large objects takes memory faster than anybody marks or sweeps. So it
// waits for the end of a cycle when the object would take the heap past its goal
// (Safepoints.waitForCycle), and sweeps as many pages of dead large objects as it wants to take.
//
// The memory is zeroed (if the layout has references and the pages are not fresh from the
// system) in pieces with a safepoint after each, so a gigabyte delays no handshake. Until the
// object is handed to the caller its span is on no list, its slot is not allocated and nothing
// refers to it: the collector does not know it. It gets its colour and generation last, and is
// accounted for last, when there is no safepoint left before the caller has it. So a request that
// is refused, and a collection in the middle, leave nothing behind.

internal import CHeapShims
package import Heap
internal import Synchronization

extension Allocator {
  /// Bytes zeroed between two safepoints.
  private static var zeroPiece: Int { 256 << 10 }

  /// The address of `size` bytes of a layout, zeroed unless noscan; nil without memory.
  package func takeLarge(_ mutator: AttachedMutator, shelf: SpanShelf, size: Int) -> UInt? {
    begin(mutator)
    // What can never be had is refused before a collection is made for it.
    guard let pageCount = Geometry.pages(toHold: size), pageCount <= pageHeap.largestRequest
    else { return nil }
    safepoints.poll(mutator)
    safepoints.waitForCycle(toTake: pageCount * Geometry.pageSize)
    sweeper.sweepForPages(pageCount, shelf, mutator)
    var span = makeSpan(mutator, shelf, pageCount)
    for _ in 0..<2 where span == nil {
      collectForMemory()
      span = makeSpan(mutator, shelf, pageCount)
    }
    guard let span else { return nil }
    if span.needsZero && !span.layout.isNoscan { zero(span, size: size) }
    // No safepoint from here on.
    let state = unsafe mutator.state
    span.touch(in: unsafe state.pointee.generation)
    let slot = SlotRange(start: 0, end: 1)
    if unsafe state.pointee.allocatesBlack { mutator.blacken(slot, of: span) }
    span.take(slot)
    // As for a run (Allocator): see Note [Publishing a run].
    atomicMemoryFence(ordering: .releasing)
    mutator.cardBirths(at: span.base, size: span.slotSize)
    let bytes = pageCount * Geometry.pageSize
    unsafe state.pointee.tally.countAllocated(slots: 1, bytes: bytes)
    mutator.noteTaken(bytes)
    safepoints.account(mutator)
    shelf.countObjects(1)
    shelf.put(span)
    return span.base
  }

  private func zero(_ span: HeapSpan, size: Int) {
    var done = 0
    while done < size {
      let length = min(Self.zeroPiece, size - done)
      // SAFETY: pages of a span that nobody else knows.
      unsafe UnsafeMutableRawPointer(bitPattern: span.base + UInt(done)).unsafelyUnwrapped
        .initializeMemory(as: UInt8.self, repeating: 0, count: length)
      done += length
      if done < size { Safepoints.answer() }
    }
  }
}
