// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Assists: a thread that allocates while the collector marks owes a share of the marking.
//
// A mutator's debt grows with every run that it takes. At a refill, when the debt has reached the
// pacer's grain, it turns it into bytes to mark (the pacer's ratio), takes what the workers have marked
// ahead as credit, and marks the rest itself. It does so in small steps, because each step is a pause of
// the program. Where nothing is grey it says so, and looks for a moment whether a worker shares. Debt
// that finds nothing to do then is forgiven: marking is about to end.
//
// An assist has grey objects in its hands for a while, where the collector does not see them.
// Therefore it notes work when it has scanned the last one, before its next answer. A note before
// it takes the first object is not enough: the collector may forget that one at the beginning of a
// round, while the assist still holds its objects. O refers to X, and X to Y. O is grey, X and Y are
// white, and all stacks have been scanned.
//
//   1. Ben's assist notes work, and takes O out of the store.
//   2. The collector finds the store empty, forgets the note, and asks for `flush`.
//   3. Ada answers. Then she stores nil into O, and records X in her buffer.
//   4. Ben scans O and finds nil. Without a second note he notes nothing. He answers.
//   5. The collector finds the round clean, and asks for the second `flush`.
//   6. Ben answers. Then he stores X, which he had loaded from O before step 1. He records X, and
//      marks it because his buffer is full. He is held up before he notes that.
//   7. Ada answers. X, in her buffer, is marked already: she notes nothing.
//   8. The second round is clean too. Marking ends, nobody has read X, and Y is swept.
//
// With the note before the answer in step 4 the round is not clean in step 5. The note before the
// first object is an extra: it may spare the collector a second `flush`, and it is what a loop would
// need that looks at the same round twice (Documentation/Protocol.md, "Why an assist notes work
// when it is through").
//
// An assist notes nothing when the store is empty. A note without work would make the round
// unclean, and with many threads allocating there would be one in every round: marking would not
// end.
//
// Model: Verification/marking.pml, ASSIST; switches NO_NOTE, NOTE_BEFORE, NOTE_AFTER, NOTE_ALWAYS

internal import CHeapShims
internal import Heap
internal import Synchronization

extension Safepoints {
  /// Pays a mutator's debt.
  ///
  /// - Parameter scanNext: scans the next objects, if there are any. A test does something before.
  package func assist(
    _ mutator: AttachedMutator, scanNext: (inout Marker) -> Bool = { $0.scanNext() }
  ) {
    let state = unsafe mutator.state
    let debt = unsafe state.pointee.assistDebt
    unsafe state.pointee.assistDebt = 0
    // Acquiring: see Note [Assists].
    guard unsafe words.pointee.isMarking.load(ordering: .acquiring) else { return }
    let ratio = unsafe words.pointee.assistRatio.load(ordering: .relaxed)
    var owed = debt.scaled(by: ratio, over: 1024)
    owed -= claimCredit(owed)
    guard owed > 0 else { return }
    guard isWorkComing(for: mutator) else { return }
    let start = heap_thread_cpu()
    marking.noteWork()
    var paid = 0
    while paid < owed, !mutator.isRequested {
      unsafe state.pointee.marker.scannedBytes = 0
      guard unsafe scanNext(&state.pointee.marker) else {
        unsafe words.pointee.isHungry.store(true, ordering: .relaxed)
        break
      }
      paid += unsafe state.pointee.marker.scannedBytes
    }
    unsafe state.pointee.marker.settle()
    // The note that the head of the file tells of.
    marking.noteWork()
    unsafe state.pointee.tally.assistNanoseconds
      .add(Int(heap_thread_cpu() - start), ordering: .relaxed)
    Self.answer()
  }

  /// Looks for work before an assist gives up: as many as take a worker some batches. A worker with more
  /// than one object shares between two of them.
  private static var looks: Int { 20 }

  /// Whether something is grey, now or in a moment.
  private func isWorkComing(for mutator: AttachedMutator) -> Bool {
    for look in 0..<Self.looks {
      if !marking.grey.isEmpty { return true }
      // Relaxed: a hint to workers that have more than one object.
      if look == 0 { unsafe words.pointee.isHungry.store(true, ordering: .relaxed) }
      heap_pause()
      // Relaxed: hints, too.
      if mutator.isRequested { return false }
      guard unsafe words.pointee.isMarking.load(ordering: .relaxed) else { return false }
    }
    return false
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
