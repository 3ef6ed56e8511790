// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Safepoints: where a mutator answers, accounts, and pays.
//
// A poll is one load and a branch in the mutator's code; this is what lies behind it, and
// what every refill passes through. In this order:
//
//   answer     the handshake that waits, if one does
//   account    what was taken since, to the heap's figure; that may start a cycle
//   assist     mark what the allocation owes while the collector marks
//
// A thread may be attached to several heaps; a safepoint of one answers for all of them, so
// that work in an inner heap does not hold up the outer one's collection.

internal import CHeapShims
internal import Heap
internal import Synchronization

extension CollectedHeap {
  // MARK: - Answering

  /// Answers what waits for the calling thread, in every heap it is attached to.
  package func safepoint(_ mutator: AttachedMutator) {
    // A thread in several heaps may be asked by another one than this.
    guard
      unsafe mutator.isRequested || mutator.state.pointee.enclosing != 0
        || mutator != AttachedMutator.current
    else { return }
    // The frames of the callers hold references in registers too.
    unsafe heap_call_with_spilled_registers(
      { _, stackPointer in CollectedHeap.answerAll(stackPointer: stackPointer) }, nil)
  }

  private static func answerAll(stackPointer: UInt) {
    var next = AttachedMutator(address: UInt(bitPattern: unsafe heap_current()))
    while let mutator = next {
      if mutator.isRequested, !mutator.isBlocked {
        mutator.heap.answer(mutator, stackPointer: stackPointer)
      }
      next = mutator.enclosing
    }
  }

  // MARK: - Refills

  /// The safepoint of a refill.
  func poll(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    safepoint(mutator)
    if options.stress.collectEvery != nil { stressCollect(mutator) }
    let isTimeToAccount = unsafe state.pointee.unaccountedBytes >= Self.accountingGrain
    if isTimeToAccount { account(mutator) }
    if unsafe state.pointee.assistDebt >= Self.accountingGrain { assist(mutator) }
    if isTimeToAccount { yieldToCollector() }
  }

  /// Bytes a mutator takes before it touches the heap's shared figure. More means a coarser
  /// trigger (by as much for each thread), less means contention.
  private static var accountingGrain: Int { 32 << 10 }

  /// Adds what a mutator has taken to the heap's figure, and asks for a cycle if it is time.
  func account(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    let total = unsafe words.pointee.allocatedBytes.add(
      state.pointee.unaccountedBytes, ordering: .relaxed
    ).newValue
    unsafe state.pointee.unaccountedBytes = 0
    if unsafe total >= words.pointee.trigger.load(ordering: .relaxed) { requestCycle() }
  }

  /// Nanoseconds that a thread past the goal waits for the collector at a time.
  private static var patience: Int { 500_000 }

  /// Lets the collector catch up, if the heap has outgrown its goal: on a machine with fewer
  /// processors than busy threads the collector's may not have run yet, or stands still with
  /// the grey spans in its hands, so that assists find nothing to do. The wait ends when
  /// marking begins or ends, and is short: a collector that is stuck stops nobody.
  private func yieldToCollector() {
    let total = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    guard total >= counters.goal.load(ordering: .relaxed),
      unsafe words.pointee.cycleIsWanted.load(ordering: .relaxed) != 0
    else { return }
    let seen = requests.markingCount
    CollectedHeap.blocking { requests.awaitMarking(since: seen, atMost: Self.patience) }
  }

  private func stressCollect(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    guard let every = options.stress.collectEvery else { return }
    unsafe state.pointee.callsUntilCollection -= 1
    guard unsafe state.pointee.callsUntilCollection <= 0 else { return }
    unsafe state.pointee.callsUntilCollection = every
    requestCycle()
  }

  // MARK: - Assist

  /// Marks what the mutator's allocation owes, less what workers have marked ahead. Debt that
  /// finds nothing to do is forgiven: marking is about to end.
  private func assist(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    let debt = unsafe state.pointee.assistDebt
    unsafe state.pointee.assistDebt = 0
    guard unsafe words.pointee.isMarking.load(ordering: .relaxed) != 0 else { return }
    let ratio = unsafe words.pointee.assistRatio.load(ordering: .relaxed)
    var owed = debt.multipliedReportingOverflow(by: ratio).overflow ? debt : (debt * ratio) >> 10
    owed -= claimCredit(owed)
    guard owed > 0 else { return }
    let start = heap_thread_cpu()
    var paid = 0
    // Before spans are taken: the collector must not find the queue empty and believe it.
    unsafe state.pointee.marker.noteWork()
    while paid < owed, !mutator.isRequested {
      unsafe state.pointee.marker.scannedBytes = 0
      guard unsafe state.pointee.marker.scanNext() else {
        unsafe words.pointee.isHungry.store(1, ordering: .relaxed)
        break
      }
      paid += unsafe state.pointee.marker.scannedBytes
    }
    unsafe state.pointee.marker.settle(self)
    unsafe state.pointee.assistNanoseconds += Int(heap_thread_cpu() - start)
    safepoint(mutator)
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
