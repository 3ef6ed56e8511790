// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What all markers of a heap share: the store of grey objects, the note that work was found, and
// the figures of what was marked.
//
// A marker belongs to one thread. A heap has many of them: one for each worker, one for each
// mutator, one for the root table. Each is given this object when it is made, and nothing else.

internal import Heap
internal import Synchronization

/// The common ground of a heap's markers.
@safe package final class SharedMarking: @unchecked Sendable {
  // Sendable: every field is constant; `words` is a pointer to atomics that outlives the markers.

  /// What the tables of the heap's arenas say in `owner`.
  package let owner: UInt
  package let grey = GreyStore()
  let counters: HeapCounters
  let words: UnsafeMutablePointer<HeapWords>
  /// Checked mode: every reference is looked up before it is marked.
  let check: ReferenceCheck?

  init(
    owner: UInt, words: UnsafeMutablePointer<HeapWords>, counters: HeapCounters,
    check: ReferenceCheck?
  ) {
    self.owner = owner
    unsafe self.words = words
    self.counters = counters
    self.check = check
  }

  /// Notes that marking is not over: something white was found, or grey objects are in a
  /// mutator's hands.
  ///
  /// Relaxed. A mutator notes work before its next answer, or before it takes objects under the
  /// store's lock. Either one orders the note before the collector's look (`hasWork`).
  func noteWork() { unsafe words.pointee.foundWork.store(true, ordering: .relaxed) }

  /// Forgets what was noted. The collector, before a round of handshakes.
  func forgetWork() { unsafe words.pointee.foundWork.store(false, ordering: .relaxed) }

  /// Whether something grey is known of.
  ///
  /// The store is read first. An assist notes work before it takes objects, so a collector that
  /// sees the store which the assist emptied sees the assist's note as well.
  package var hasWork: Bool {
    unsafe !grey.isEmpty || words.pointee.foundWork.load(ordering: .relaxed)
  }

  /// Adds to what was marked in this cycle.
  func countMarked(bytes: Int, objects: Int) {
    counters.markedBytes.add(bytes, ordering: .relaxed)
    counters.markedObjects.add(objects, ordering: .relaxed)
  }
}
