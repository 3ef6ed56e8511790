// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Assists: a thread that allocates while the collector marks owes a share of the marking.
//
// A mutator's debt grows with every run that it takes. At a refill it turns the debt into bytes to
// mark (the pacer's ratio), takes what the workers have marked ahead as credit, and marks the
// rest itself. Debt that finds nothing to do is forgiven: marking is about to end.
//
// An assist has grey spans in its hands for a while, where the collector does not see them.
// Therefore it notes work before it takes a span (SharedMarking.hasWork). It notes nothing when
// the queue is empty. A note without work would make the round of handshakes unclean, and with
// many threads allocating there would be one in every round: marking would not end.
//
// Model: Verification/marking.pml, ASSIST

internal import CHeapShims
internal import Heap
internal import Synchronization

extension Safepoints {
  /// Pays a mutator's debt.
  func assist(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    let debt = unsafe state.pointee.assistDebt
    unsafe state.pointee.assistDebt = 0
    guard unsafe words.pointee.isMarking.load(ordering: .relaxed) else { return }
    let ratio = unsafe words.pointee.assistRatio.load(ordering: .relaxed)
    var owed = debt.scaled(by: ratio, over: 1024)
    owed -= claimCredit(owed)
    guard owed > 0 else { return }
    guard !marking.queue.isEmpty else {
      // Relaxed: a hint to workers that have more than one span.
      unsafe words.pointee.isHungry.store(true, ordering: .relaxed)
      return
    }
    let start = heap_thread_cpu()
    marking.noteWork()
    var paid = 0
    while paid < owed, !mutator.isRequested {
      unsafe state.pointee.marker.scannedBytes = 0
      guard unsafe state.pointee.marker.scanNext() else {
        unsafe words.pointee.isHungry.store(true, ordering: .relaxed)
        break
      }
      paid += unsafe state.pointee.marker.scannedBytes
    }
    unsafe state.pointee.marker.settle()
    unsafe state.pointee.tally.assistNanoseconds
      .add(Int(heap_thread_cpu() - start), ordering: .relaxed)
    Self.answer()
  }

  /// Takes up to `wanted` bytes of what workers have marked.
  private func claimCredit(_ wanted: Int) -> Int {
    // Relaxed: a quantity, not a hand-over.
    var seen = unsafe words.pointee.assistCredit.load(ordering: .relaxed)
    while seen > 0 {
      let claimed = min(seen, wanted)
      let (done, now) = unsafe words.pointee.assistCredit.compareExchange(
        expected: seen, desired: seen - claimed, ordering: .relaxed)
      if done { return claimed }
      seen = now
    }
    return 0
  }
}
