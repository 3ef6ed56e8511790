// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A collection, from the first handshake to the last swept span. One function a step:
//
//   1. finishSweeping        what the last cycle left; in a full cycle all marks are cleared then
//   2. raiseBarrier          the flag goes up; handshakes `sync` and `sync` again
//   3. scanCards             in a minor cycle: marks what old objects refer to where they were
//                            written; in both kinds all cards are clean then
//      scanStacksAndRoots    handshake `scan`: each mutator marks what its stack refers to,
//                            and allocates black from then on; then the root slots
//   4. drain                 mark, concurrently, with workers and assisting mutators
//   5. terminateMarking      handshakes `flush` until two rounds in a row find nothing
//   6. settle                what was found dead: weak references to it are nil, its cleanups are
//                            queued
//      lowerBarrier          the flag goes down; handshake `off`; in checked mode the
//                            verifier looks at all marks
//   7. advanceGeneration     handshake `returnSpans`: each mutator hands its spans back and
//                            allocates white, from the new generation
//   8. sweep                 here in the background, and lazily where threads allocate
//
// A full cycle finds out which objects are reachable. A minor cycle takes those for reachable that
// the cycle before has found (old objects; their marks have stayed), and finds out about those that
// were allocated since. Cards say which old objects may refer to young ones (CardTable).
//
// Why two handshakes in step 2? One is not enough. Thread A recorded the slot's old value but
// has not stored. Thread B, which has not seen the flag, stores a white object there unrecorded.
// A's store then destroys the only path to that object. After a second handshake all such stores
// have finished. Why black only after the thread's own scan? Before it, the thread can move a
// white reference from its stack into a fresh black object with a plain initialising store. Why
// `off` before the generation advances? A late mark in a swept span would be taken for a mark of
// the next cycle. Documentation/Protocol.md tells all of it.
//
// Owner       the heap's collector thread; nothing here runs on a mutator's thread, except its
//             own answers.
// Model: Verification/ (the steps carry these names there)

internal import CHeapShims
internal import Heap
internal import Synchronization

/// What a cycle finds out about.
package enum CycleKind: Sendable {
  /// What was allocated since the cycle before.
  case minor
  /// All objects.
  case full
}

/// The steps of a collection, and what they need.
@safe package final class CollectionCycle: @unchecked Sendable {
  // Sendable: constants, and a pointer to atomics.

  private let pageHeap: PageHeap
  private let words: UnsafeMutablePointer<HeapWords>
  private let marking: SharedMarking
  private let handshakes: Handshakes
  private let roots: RootTable
  private let weak: WeakTable
  private let ephemerons: EphemeronTable
  private let cleanups: CleanupTable
  private let crew: MarkCrew
  private let sweeper: Sweeper
  private let pacer: Pacer
  private let requests: CycleRequests
  private let counters: HeapCounters
  /// Nil: the heap is unchecked.
  private let verifier: Verifier?
  /// Nil: nothing is written.
  private let trace: CycleTrace?

  init(
    pageHeap: PageHeap, words: UnsafeMutablePointer<HeapWords>, marking: SharedMarking,
    handshakes: Handshakes, roots: RootTable, weak: WeakTable, ephemerons: EphemeronTable,
    cleanups: CleanupTable, crew: MarkCrew, sweeper: Sweeper, pacer: Pacer,
    requests: CycleRequests, counters: HeapCounters, verifier: Verifier?, trace: CycleTrace?
  ) {
    self.pageHeap = pageHeap
    unsafe self.words = words
    self.marking = marking
    self.handshakes = handshakes
    self.roots = roots
    self.weak = weak
    self.ephemerons = ephemerons
    self.cleanups = cleanups
    self.crew = crew
    self.sweeper = sweeper
    self.pacer = pacer
    self.requests = requests
    self.counters = counters
    self.verifier = verifier
    self.trace = trace
  }

  /// Runs one collection.
  package func run(_ request: CycleRequest) {
    // The cycle before has swept to the end.
    let kind = sweeper.wantsFullCycle ? .full : pacer.kind(of: request)
    trace?.begin()
    let (start, checkedBefore) = (heap_thread_cpu(), verifier?.time ?? 0)
    finishSweeping()
    beginMarking(kind, forced: request.isForced)
    raiseBarrier()
    scanCards(kind)
    scanStacksAndRoots()
    trace?.note(.marking)
    beginAssists()
    drain()
    terminateMarking(kind)
    endAssists()
    trace?.note(.terminated)
    settle(kind)
    lowerBarrier()
    verifier?.verify()
    // What checked mode takes is no price of the cycle's kind (MinorControl).
    let time = Int(heap_thread_cpu() - start) - ((verifier?.time ?? 0) - checkedBefore)
    advanceGeneration(kind, time: time)
    counters.markNanoseconds.add(Int(heap_thread_cpu() - start), ordering: .relaxed)
    trace?.note(.sweeping)
    sweep()
    trace?.end(kind, forced: request.isForced)
  }

  // MARK: - 1. Finish sweeping

  package func finishSweeping() { sweeper.finish() }

  /// In a full cycle nothing is marked yet. In a minor one all old objects are.
  package func beginMarking(_ kind: CycleKind, forced: Bool) {
    if kind == .full { pageHeap.clearMarks() } else { verifier?.verifyCards() }
    counters.beginCycle(kind, forced: forced)
    unsafe words.pointee.assistCredit.store(0, ordering: .relaxed)
  }

  // MARK: - 2. Raise the barrier

  package func raiseBarrier() {
    // Before the heap's word: a weak look-up that sees that word up asks the table.
    roots.beginMarking()
    // The heap's word first, the process's flag last. A mutator that sees either one clear
    // records nothing, as before the cycle. Releasing: see Note [Barrier flag].
    unsafe words.pointee.barrierIsUp.store(true, ordering: .releasing)
    heap_barrier_raise()
    handshakes.perform(.sync)
    handshakes.perform(.sync)
  }

  // MARK: - 3. Scan cards, stacks and roots

  /// Cleans every card, and marks what the old objects on it refer to if the cycle is a minor one.
  ///
  /// After the second `sync`: every store whose thread did not see the flag is complete, its card
  /// included; and every other store sets no card, because what it stores is shaded and so is old
  /// when the cycle ends.
  package func scanCards(_ kind: CycleKind) {
    for arena in pageHeap.arenas {
      CardTable.takeDirty(of: arena) { card in
        if kind == .minor { crew.scanCard(card) }
      }
    }
    crew.settle()
  }

  package func scanStacksAndRoots() {
    handshakes.perform(.scan) { $0.allocatesBlack = true }
    pacer.markingBegan()
    roots.scan()
  }

  // MARK: - 4. Drain

  /// Allocation owes work from now on.
  ///
  /// Not before the last answer to `scan`. If anybody scanned objects earlier, a stale word could
  /// make an unused slot of a run black whose thread has not been scanned yet.
  private func beginAssists() {
    // Releasing: see Note [Assists].
    unsafe words.pointee.isMarking.store(true, ordering: .releasing)
    requests.noteMarking()
  }

  package func drain() { crew.drain() }

  private func endAssists() {
    // Relaxed: an assist that has not heard of it does no harm. The posts of `off` release it.
    unsafe words.pointee.isMarking.store(false, ordering: .relaxed)
  }

  // MARK: - 5. Terminate marking

  /// Marks until nothing is white that is reachable.
  ///
  /// A round: read all that is grey, then have every mutator flush its buffer. The round is clean
  /// when no work was found in it (SharedMarking.hasWork). After a round that was not clean the
  /// collector begins again. One clean round proves too little.
  /// Thread A answers, marks object X and is descheduled before it has put X into the store. Thread B
  /// then finds X already marked and notes nothing. A's next answer makes its work visible.
  /// Hence a second round, before which nothing is forgotten. After two clean rounds no buffer
  /// held a white object at its mutator's answer, and none can come to hold one: every path to a
  /// white object would have to begin in a slot or on a stack, and both are black.
  ///
  /// The last look is taken, and the end decided, under the root table's lock. A root slot that
  /// is dropped or set shades under the same lock, and so does a weak look-up: before the look or not
  /// at all. A full buffer is flushed before the look or thrown away (RootTable).
  ///
  /// What an ephemeron's value refers to is marked when the key is: a round counts if there was nothing
  /// to be done for ephemerons at its beginning (EphemeronTable).
  ///
  /// Model: Verification/marking.pml, switches NO_CONFIRM, RESET_BETWEEN, UNLOCKED_END, LATE_FLUSH;
  /// weak.pml, EPHEMERON.
  package func terminateMarking(_ kind: CycleKind = .full) {
    while true {
      drain()
      // The handshake orders this before what mutators find in the round.
      marking.forgetWork()
      // After it: who marks a key later notes work.
      if ephemerons.propagate(kind, crew) { continue }
      handshakes.perform(.flush)
      // A round that was not clean proves nothing: begin again.
      if marking.hasWork { continue }
      handshakes.perform(.flush)
      if roots.endMarking(unless: { marking.hasWork }) { return }
    }
  }

  // MARK: - 6. Settle, lower the barrier

  /// Makes weak references nil whose targets are dead, and queues the cleanups of what is dead. From
  /// then on looking a weak reference up is a load.
  package func settle(_ kind: CycleKind) {
    ephemerons.settle(kind)
    weak.settle(kind)
    cleanups.settle(kind)
  }

  /// Ends the recording of stores.
  ///
  /// Marking has ended. What a mutator has recorded since it answered last is marked, if it is a
  /// reference. But a store into an enum's payload records what the old and the new words look like
  /// references to (WriteBarrier.recordAggregate), and that may be garbage. It must not be marked any
  /// more: a weak reference to it is nil, and what it refers to is about to be swept. So buffers are
  /// thrown away, in the answers to `off`.
  package func lowerBarrier() {
    heap_barrier_lower()
    unsafe words.pointee.barrierIsUp.store(false, ordering: .releasing)
    handshakes.perform(.off) { $0.cardsBirths = true }
    assert(marking.grey.isEmpty, "something was marked after the end of marking")
    marking.grey.trim()
  }

  // MARK: - 7. Advance the generation

  ///
  /// - Parameter time: processor time of the cycle so far, in nanoseconds.
  package func advanceGeneration(_ kind: CycleKind, time: Int = 0) {
    // Before mutators begin to allocate white, in their answers: that comes on top.
    pacer.markingEnded(marked: counters.markedBytes.load(ordering: .relaxed))
    handshakes.perform(.returnSpans) { state in
      (state.allocatesBlack, state.cardsBirths) = (false, false)
      state.generation = state.generation.next(isFull: kind == .full)
      // Relaxed: the posts of the handshake release it.
      unsafe self.words.pointee.generation.store(state.generation.bits, ordering: .relaxed)
    }
    counters.endMarking(kind)
    handshakes.registry.retireUnused { counters.keepTally(of: $0) }
    // Before those who wait for the cycle are woken: this thread may have to stand back for them,
    // and they are to sweep before they take fresh memory.
    sweeper.open(
      Generation(bits: unsafe words.pointee.generation.load(ordering: .relaxed)), kind)
    pacer.cycleEnded(
      kind, live: counters.liveBytes.load(ordering: .relaxed),
      roots: counters.rootBytes.load(ordering: .relaxed), time: time)
    requests.clearRequest()
    // A thread may have changed the rules since or allocated, and its request was cleared with the
    // others.
    pacer.requestIfDueAgain()
    requests.noteMarking()
  }

  // MARK: - 8. Sweep

  package func sweep() { sweeper.finish() }
}
