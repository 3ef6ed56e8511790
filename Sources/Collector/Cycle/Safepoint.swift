// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Safepoints: where a mutator answers, accounts, and pays.
//
// A poll is one load and a branch in the mutator's code; this is what lies behind it, and what
// every refill passes through. In this order:
//
//   answer     the handshake that waits, if one does
//   account    what was taken since, to the heap's figure; that may start a cycle
//   assist     mark what the allocation owes while the collector marks (Assist.swift)
//   wait       for the collector, if the heap has outgrown its goal
//
// A thread may be attached to several heaps; a safepoint of one answers for all of them, so that
// work in an inner heap does not hold up the outer one's collection.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// What a heap asks of its mutators at their safepoints.
@safe package final class Safepoints: @unchecked Sendable {
  // Sendable: constants, and a pointer to atomics.

  let words: UnsafeMutablePointer<HeapWords>
  let marking: SharedMarking
  private let requests: CycleRequests

  init(
    words: UnsafeMutablePointer<HeapWords>, marking: SharedMarking, requests: CycleRequests
  ) {
    unsafe self.words = words
    self.marking = marking
    self.requests = requests
  }

  // MARK: - Answering

  /// Answers what waits for the calling thread, in every heap it is attached to.
  package static func answer() {
    let isAsked = AttachedMutator.chain.contains(where: \.owesAnswer)
    guard isAsked else { return }
    // The frames of the callers hold references in registers too.
    unsafe heap_call_with_spilled_registers(
      { _, stackPointer in
        for mutator in AttachedMutator.chain where mutator.owesAnswer {
          mutator.heap.handshakes.answer(mutator, stackPointer: stackPointer)
        }
      }, nil)
  }

  // MARK: - Refills

  /// The safepoint of a refill.
  package func poll(_ mutator: AttachedMutator) {
    if unsafe mutator.isRequested || mutator.state.pointee.enclosing != 0
      || mutator != AttachedMutator.current
    {
      Self.answer()
    }
    let state = unsafe mutator.state
    let isTimeToAccount = unsafe state.pointee.unaccountedBytes >= Self.accountingGrain
    if isTimeToAccount { account(mutator) }
    if unsafe state.pointee.assistDebt >= Self.accountingGrain { assist(mutator) }
    if isTimeToAccount { waitForCollector() }
  }

  /// Bytes a mutator takes before it touches the heap's shared figure. More means a coarser
  /// trigger (by as much for each thread), less means contention.
  private static var accountingGrain: Int { 32 << 10 }

  /// Notes that a mutator has taken memory for objects. What was taken while the collector marks
  /// is a debt. No safepoint.
  func noteTaken(_ bytes: Int, _ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    unsafe state.pointee.unaccountedBytes += bytes
    if unsafe words.pointee.isMarking.load(ordering: .relaxed) {
      unsafe state.pointee.assistDebt += bytes
    }
  }

  /// Adds what a mutator has taken to the heap's figure, and asks for a cycle if it is time.
  package func account(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    let total = unsafe words.pointee.allocatedBytes.wrappingAdd(
      state.pointee.unaccountedBytes, ordering: .relaxed
    ).newValue
    unsafe state.pointee.unaccountedBytes = 0
    if unsafe total >= words.pointee.trigger.load(ordering: .relaxed) { requests.request() }
  }

  /// Nanoseconds that a thread past the goal waits for the collector at a time.
  private static var patience: Int { 500_000 }

  /// Lets the collector catch up, if the heap has outgrown its goal. On a machine with fewer
  /// processors than busy threads the collector's may not have run yet, or stands still with the
  /// grey spans in its hands, so that assists find nothing to do. The wait ends when marking
  /// begins or ends, and is short: a collector that is stuck stops nobody.
  func waitForCollector() {
    let total = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    guard unsafe total >= words.pointee.goal.load(ordering: .relaxed),
      unsafe words.pointee.cycleIsWanted.load(ordering: .relaxed)
    else { return }
    let seen = requests.markingCount
    CollectedHeap.blocking { requests.awaitMarking(since: seen, atMost: Self.patience) }
  }
}
