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
    if unsafe state.pointee.assistDebt >= words.pointee.assistGrain.load(ordering: .relaxed) {
      assist(mutator)
    }
    if isTimeToAccount { waitForCollector() }
  }

  /// Bytes a mutator takes before it touches the heap's shared figure. More means a coarser
  /// trigger (by as much for each thread), less means contention.
  static var accountingGrain: Int { 32 << 10 }

  /// Adds what a mutator has taken to the heap's figure, and asks for a cycle if it is time.
  package func account(_ mutator: AttachedMutator) {
    let state = unsafe mutator.state
    let total = unsafe words.pointee.allocatedBytes.wrappingAdd(
      state.pointee.unaccountedBytes, ordering: .relaxed
    ).newValue
    unsafe state.pointee.unaccountedBytes = 0
    if unsafe total >= words.pointee.trigger.load(ordering: .relaxed) { requests.request() }
  }

  /// A thread has taken memory outside of the heap that goes when objects do, or given it back.
  ///
  /// Taking is like the allocation of a large object: it lets the collector catch up first, and is a
  /// debt while the collector marks.
  package func adjustExternal(by bytes: Int, _ mutator: AttachedMutator, _ pacer: Pacer) {
    if bytes > 0 {
      poll(mutator)
      waitForCycle(toTake: bytes)
      // Relaxed: who pays looks again.
      if unsafe words.pointee.isMarking.load(ordering: .relaxed) {
        unsafe mutator.state.pointee.assistDebt = mutator.state.pointee.assistDebt.saturatingAdd(
          bytes)
      }
    }
    pacer.adjustExternal(by: bytes)
  }

  // MARK: - Waiting

  // On a machine with fewer processors than busy threads the collector's may not have run yet, or
  // stands still with the grey objects in its hands, so that assists find nothing to do. A thread
  // that takes memory past the goal waits then, in a blocking region. Every wait has a limit: a
  // collector that is stuck (a thread comes to no safepoint) stops nobody for good.

  /// Nanoseconds that a refill past the goal waits at the most.
  private static var refillPatience: Int { 500_000 }

  /// Nanoseconds that a large object past the goal waits at the most, for each byte: with a
  /// collector that is stuck, a thread takes 16 MiB a second. Less lets the heap grow further
  /// past the goal while a large graph is marked, more holds threads up longer that nobody helps.
  private static var patiencePerByte: Int { 60 }

  /// And never longer than this, in nanoseconds. Threads that delay the collector have been
  /// reported by then (Handshake.swift).
  private static var longestPatience: Int { 10_000_000_000 }

  /// Nanoseconds until it looks for something to assist with for the first time.
  private static var firstGlance: Int { 20_000 }

  /// Lets the collector catch up, if the heap has outgrown its goal and there is nothing to assist
  /// with: until there is, or until marking ends.
  private func waitForCollector() {
    guard isPastGoal(with: 0) else { return }
    let seen = requests.markingCount
    CollectedHeap.blocking { requests.awaitMarking(since: seen, atMost: Self.refillPatience) }
  }

  /// Lets a collection come to its end, if a large object would take the heap past its goal.
  ///
  /// A large object can be many times what a refill takes, and costs its thread little time. Half
  /// a millisecond each would hold up nobody.
  func waitForCycle(toTake bytes: Int) {
    guard isPastGoal(with: bytes) else { return }
    let (cycles, minorCycles) = (cycleCount, minorCycleCount)
    let patience = min(bytes.scaled(by: Self.patiencePerByte, over: 1), Self.longestPatience)
    let end = heap_now() + UInt64(patience)
    CollectedHeap.blocking {
      while true {
        // Before the look at what it stands for.
        let seen = requests.markingCount
        let now = heap_now()
        guard now < end, isPastGoal(with: bytes) else { return }
        // A cycle has come to its end; but a minor one leaves the old, and the next is full then.
        let hasEnded = cycleCount != cycles
        let wasMinor = cycleCount - cycles == minorCycleCount - minorCycles
        if hasEnded && !(wasMinor && isPastFullGoal(with: bytes)) { return }
        requests.awaitMarking(since: seen, atMost: Int(end - now))
      }
    }
  }

  private var cycleCount: Int { marking.counters.cycles.load(ordering: .relaxed) }
  private var minorCycleCount: Int { marking.counters.minorCycles.load(ordering: .relaxed) }

  /// Whether so many bytes more take the heap past the goal of the next full cycle.
  private func isPastFullGoal(with bytes: Int) -> Bool {
    unsafe total(with: bytes) >= words.pointee.fullGoal.load(ordering: .relaxed)
  }

  /// Whether so many bytes more take the heap past its goal, and a cycle is wanted or under way.
  private func isPastGoal(with bytes: Int) -> Bool {
    // Relaxed: quantities and a hint.
    unsafe total(with: bytes) >= words.pointee.goal.load(ordering: .relaxed)
      && words.pointee.cycleIsWanted.load(ordering: .relaxed)
  }

  /// Bytes allocated, as far as accounted, and so many more.
  private func total(with bytes: Int) -> Int {
    unsafe words.pointee.allocatedBytes.load(ordering: .relaxed).saturatingAdd(bytes)
  }
}
