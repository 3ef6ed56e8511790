// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// From a run that is used up to the next one of the same span.
//
// In a heap that has been swept, free slots lie between live ones, and runs are short: where one
// object in ten lives, a run has nine slots, and a thread changes runs as often as it does anything
// but allocating. So the change that involves nobody else has a way of its own. It reads the entry,
// the mutator's state and the span, and takes no other path into the heap:
//
//     nothing special? · next free stretch of the span · zero it · colour it · make it the entry's
//
// "Nothing special" means: no handshake waits, no bytes have to be accounted or paid for, and
// neither checked mode nor stress wants a word. In any other case `changeRun` does
// nothing, and the slow half does all of it, as it does when the span is used up (Allocator.swift).
//
// A change of runs does not count objects. It moves `runStart` back by what has not been counted
// yet, so that the entry's figures stay right, and they are counted when the span is put back. Only
// when births are put on cards (RunColour.swift) must a run start where it says: then runs are changed
// by the slow half.
//
// A run is no longer than all before it together, since the thread handed its spans back. What is in
// a run counts as allocated. If each run were as long as could be, a thread with a thousand types
// would have taken 8 MiB after a thousand small objects, and a small heap would collect all the
// time. So what is taken and not used is no more than what is used, and a first run for each type
// and thread.
//
// Owner    the mutator's thread.
// Ordering See Note [Publishing a run] in Documentation/MemoryOrdering.md.

internal import CHeapShims
public import Heap
internal import Synchronization

extension AttachedMutator {
  /// Makes the next run of an entry's span the entry's, if the entry is that of a key and nothing else
  /// is to be done; whether it has.
  ///
  /// - Precondition: if the entry is the key's, its run is used up.
  @usableFromInline package func changeRun(
    _ entry: UnsafeMutablePointer<CacheEntry>, key: UInt
  ) -> Bool {
    guard unsafe entry.pointee.key == key && entry.pointee.spanAddress != 0, isUndisturbed else {
      return false
    }
    assert(unsafe entry.pointee.cursor >= entry.pointee.limit, "a run that has slots is changed")
    let span = HeapSpan(address: unsafe entry.pointee.spanAddress)
    guard let run = unsafe span.nextRun(atMost: longestRun(entry, of: span)) else {
      return false
    }
    let uncounted = unsafe entry.pointee.cursor &- entry.pointee.runStart
    unsafe open(run, of: span, entry)
    unsafe entry.pointee.runStart &-= uncounted
    return true
  }

  /// Whether the next run may be taken without a look at anything but the span.
  @inline(__always) private var isUndisturbed: Bool {
    let state = unsafe state
    return unsafe state.pointee.hasPlainRuns && !state.pointee.cardsBirths && !isRequested
      && state.pointee.enclosing == 0 && self == Self.current
      && state.pointee.unaccountedBytes < Safepoints.accountingGrain
      && state.pointee.assistDebt
        < state.pointee.words.pointee.assistGrain.load(ordering: .relaxed)
  }

  // MARK: - Taking a run

  /// Bytes of the first run that an entry gets after the thread has handed its spans back. More
  /// counts more that is not used where there are many types or threads, less takes more changes.
  private static var firstRun: Int { 512 }

  /// Slots that the entry's next run may have. While the collector marks: no more than the thread
  /// assists for at a time.
  @inline(__always)
  func longestRun(
    _ entry: UnsafeMutablePointer<CacheEntry>, of span: HeapSpan
  ) -> Int {
    var bytes = unsafe max(Int(entry.pointee.recentBytes), Self.firstRun)
    if unsafe state.pointee.allocatesBlack {
      // Relaxed: a quantity.
      bytes = min(bytes, unsafe state.pointee.words.pointee.assistGrain.load(ordering: .relaxed))
    }
    if bytes >= span.pageCount * Geometry.pageSize { return .max }
    return max(bytes / Int(span.slotSize), 1)
  }

  /// Makes a run the entry's, zeroed and in the mutator's colour.
  ///
  /// - Parameter inTurn: the run is a slot that was found by `freeSlot` and not by `nextRun`.
  @inline(__always)
  func open(
    _ run: SlotRange, of span: HeapSpan, _ entry: UnsafeMutablePointer<CacheEntry>,
    inTurn: Bool = false
  ) {
    let first = span.address(ofSlot: run.start)
    let bytes = run.count * Int(span.slotSize)
    if span.needsZero && !span.layout.isNoscan {
      // SAFETY: free slots of a span that the mutator owns.
      unsafe UnsafeMutableRawPointer(bitPattern: first).unsafelyUnwrapped
        .initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    }
    if unsafe state.pointee.allocatesBlack { blacken(run, of: span) }
    if inTurn {
      span.takeSlot(run)
    } else {
      span.take(run)
      prefetch(behind: run, of: span)
    }
    // First values are stored plainly. Whoever finds a reference into this run among them sees the
    // span, the zeroes and the colour. Pair: the address dependency of that reader. See Note
    // [Publishing a run].
    atomicMemoryFence(ordering: .releasing)
    unsafe entry.pointee.cursor = first
    unsafe entry.pointee.runStart = first
    unsafe entry.pointee.limit = first + UInt(bytes)
    unsafe entry.pointee.recentBytes = Int32(
      min(Int(entry.pointee.recentBytes) + bytes, Geometry.arenaSize))
    noteTaken(bytes)
  }

  /// Notes that the mutator has taken memory for objects. What was taken while the collector marks
  /// is a debt. No safepoint.
  @inline(__always)
  func noteTaken(_ bytes: Int) {
    let state = unsafe state
    unsafe state.pointee.unaccountedBytes += bytes
    // Relaxed: a quantity is noted. Who pays looks again (Assist).
    if unsafe state.pointee.words.pointee.isMarking.load(ordering: .relaxed) {
      unsafe state.pointee.assistDebt += bytes
    }
  }

  // MARK: - Prefetching

  /// Slots of a run that is short: whoever uses it up needs the next one soon, from memory that
  /// nobody has touched for long.
  private static var shortRun: Int { 8 }
  /// Bytes that are prefetched.
  private static var prefetched: UInt { 256 }

  /// Has the processor fetch the next free slot behind a short run.
  @inline(__always)
  private func prefetch(behind run: SlotRange, of span: HeapSpan) {
    guard run.count <= Self.shortRun, let next = span.freeSlotNearby(from: run.end) else { return }
    let address = span.address(ofSlot: next)
    for offset in stride(from: 0, to: Self.prefetched, by: 64) {
      heap_prefetch_write(address &+ offset)
    }
  }
}
