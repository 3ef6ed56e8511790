// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The slow half of allocation: from a run that is used up to a slot.
//
// The next run of the same span is taken on a shorter way, if nothing else is to be done
// (RunChange.swift). The way from any other miss to a fresh page leads through five files, each of
// which names the next:
//
//   Mutator/Threads/HeapMutator.swift   the run of the type has no slot left, or there is none
//   Mutator/Threads/Allocation.swift    finds the cache entry of the type, once
//   this file                           the next run of the span, then the next span:
//                                         partial and swept, from the shelf
//                                         partial or full and unswept, swept now (Sweeper)
//                                         fresh, from the page heap
//   Heap/Tiers/PageHeap.swift           free pages for a fresh span, or a new arena
//   Heap/Pages/PageAllocator.swift      which pages
//
// When the system refuses, or the hard limit is reached, what is unreachable is in the way: a full
// collection, and once more.
//
// A refill is a safepoint. First the mutator polls (Safepoint.swift), then a run is taken. Between
// taking a run and the initialisation of the object there is no safepoint.
//
// Colour and handing back: RunColour.swift. Tiny values: TinyAllocation.swift. Large objects:
// LargeAllocation.swift.

internal import CHeapShims
package import Heap
internal import Synchronization

/// Hands out slots to mutators.
package final class Allocator: Sendable {
  let pageHeap: PageHeap
  let safepoints: Safepoints
  let sweeper: Sweeper
  private let requests: CycleRequests
  /// Nil: the heap is unchecked.
  private let quarantine: Quarantine?
  private let collectEvery: Int?
  /// Runs have one slot, so that every allocation takes the slow half.
  private let hasSingleSlots: Bool
  /// In checked mode slots are taken in turn, so that one that was freed is used again late: a
  /// stale reference to it then finds no object there.
  private let takesTurns: Bool
  /// Whose turn it is. Relaxed: any number will do.
  private let turn = Atomic(0)

  init(
    pageHeap: PageHeap, sweeper: Sweeper, safepoints: Safepoints, requests: CycleRequests,
    quarantine: Quarantine?, options: CollectorOptions
  ) {
    self.pageHeap = pageHeap
    self.sweeper = sweeper
    self.safepoints = safepoints
    self.requests = requests
    self.quarantine = quarantine
    collectEvery = options.stress.collectEvery
    hasSingleSlots = options.everyAllocationIsSlow
    takesTurns = options.checks
  }

  /// What every allocation that takes the slow half does first.
  func begin(_ mutator: AttachedMutator) {
    mutator.requireRunning()
    if let collectEvery { countForStress(mutator, collectEvery) }
  }

  /// Makes every nth allocation of a thread a complete collection.
  private func countForStress(_ mutator: AttachedMutator, _ every: Int) {
    let state = unsafe mutator.state
    unsafe state.pointee.callsUntilCollection -= 1
    guard unsafe state.pointee.callsUntilCollection <= 0 else { return }
    unsafe state.pointee.callsUntilCollection = every
    requests.collectAndWait(ofAnyKind: true)
  }

  // MARK: - Slots

  /// The address of a slot for the objects of a cache entry; nil when there is no memory.
  package func takeSlot(
    _ mutator: AttachedMutator, _ entry: UnsafeMutablePointer<CacheEntry>
  ) -> UInt? {
    begin(mutator)
    return unsafe nextSlot(mutator, entry)
  }

  /// The next slot of the entry's run, or the first one of a new run.
  func nextSlot(
    _ mutator: AttachedMutator, _ entry: UnsafeMutablePointer<CacheEntry>
  ) -> UInt? {
    if unsafe entry.pointee.cursor >= entry.pointee.limit
      && !mutator.changeRun(entry, key: entry.pointee.key)
    {
      guard unsafe refill(mutator, entry) else { return nil }
    }
    let slot = unsafe entry.pointee.cursor
    unsafe entry.pointee.cursor = slot + entry.pointee.slotSize
    return slot
  }

  /// Gives an entry a run with a free slot; false when there is no memory.
  private func refill(
    _ mutator: AttachedMutator, _ entry: UnsafeMutablePointer<CacheEntry>
  ) -> Bool {
    safepoints.poll(mutator)
    for _ in 0..<2 {
      if unsafe takeRun(mutator, entry) { return true }
      collectForMemory()
    }
    return unsafe takeRun(mutator, entry)
  }

  /// A full collection because there is no memory left.
  func collectForMemory() {
    guard let quarantine else { return requests.collectAndWait() }
    quarantine.suspend { requests.collectAndWait() }
  }

  private func takeRun(
    _ mutator: AttachedMutator, _ entry: UnsafeMutablePointer<CacheEntry>
  ) -> Bool {
    unsafe mutator.closeRun(entry)
    while true {
      if let span = unsafe entry.pointee.span {
        if let run = unsafe nextRun(of: span, entry, for: mutator) {
          unsafe mutator.open(run, of: span, entry, inTurn: takesTurns)
          return true
        }
        unsafe AttachedMutator.putBack(span, entry)
      }
      guard let span = unsafe findSpan(entry.pointee.shelf, mutator) else { return false }
      span.touch(in: unsafe mutator.state.pointee.generation)
      unsafe entry.pointee.span = span
      unsafe entry.pointee.countBefore = span.allocatedCount
    }
  }

  private func nextRun(
    of span: HeapSpan, _ entry: UnsafeMutablePointer<CacheEntry>, for mutator: AttachedMutator
  ) -> SlotRange? {
    guard takesTurns else {
      return span.nextRun(
        atMost: hasSingleSlots ? 1 : unsafe mutator.longestRun(entry, of: span))
    }
    let place = turn.wrappingAdd(1, ordering: .relaxed).oldValue
    return span.freeSlot(from: Int(UInt(bitPattern: place) % UInt(span.slotCount)))
  }

  /// A span of the shelf with a free slot, or a fresh one.
  private func findSpan(_ shelf: SpanShelf, _ mutator: AttachedMutator) -> HeapSpan? {
    let generation = unsafe mutator.state.pointee.generation
    return shelf.popPartial(of: generation)
      ?? sweeper.sweepForSlots(shelf, mutator)
      ?? makeSpan(mutator, shelf, shelf.spanClass.sizeClass.spanPages)
  }

  /// A fresh span; nil when there is no memory.
  func makeSpan(
    _ mutator: AttachedMutator, _ shelf: SpanShelf, _ pageCount: Int
  ) -> HeapSpan? {
    let span = pageHeap.makeSpan(
      for: shelf, pageCount: pageCount, generation: unsafe mutator.state.pointee.generation)
    if pageHeap.takeAsk() { requests.requestWork() }
    return span
  }
}
