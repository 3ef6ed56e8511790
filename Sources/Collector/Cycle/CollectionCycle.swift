// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A collection, from the first handshake to the sweep. One function a step:
//
//   1. finishSweeping        what the last cycle left; then every mark bit is clear
//   2. raiseBarrier          the flag goes up; handshakes `sync` and `sync` again
//   3. scanStacksAndRoots    handshake `scan`: each mutator marks what its stack refers to,
//                            and allocates black from then on; then the root slots
//   4. drain                 mark, concurrently, with workers and assisting mutators
//   5. terminateMarking      handshakes `flush` until two rounds in a row find nothing
//   6. lowerBarrier          the flag goes down; handshake `off`; in checked mode the
//                            verifier looks at all marks
//   7. advanceGeneration     handshake `returnSpans`: each mutator hands its spans back and
//                            allocates white, from the new generation
//   8. sweepAll              here in the background, and lazily where threads allocate
//
// Why two handshakes in step 2: a thread that has seen the flag may be between reading a
// slot's old value and its store when another, which has not, stores there without the
// barrier and is scanned before... Documentation/Protocol.md tells the story. Why black only
// after the own scan: a thread whose stack is white can move a white reference from it into
// a fresh black object with a plain initialising store. Why `off` before the generation
// advances: a late mark in a swept span would be taken for a mark of the next cycle.
//
// Owner       the heap's collector thread; nothing here runs on a mutator's thread, except
//             its own answers.
// Model: Verification/ (the steps carry these names there)

internal import CHeapShims
internal import Heap
internal import Synchronization

extension CollectedHeap {
  /// Runs one collection up to the point where sweeping may begin.
  package func runCycle(forced: Bool) {
    let start = heap_now()
    let goal = counters.goal.load(ordering: .relaxed)
    if options.trace { trace.begin(self) }
    finishSweeping()
    beginFigures(forced: forced)
    raiseBarrier()
    scanStacksAndRoots()
    if options.trace { trace.mark() }
    // Only now, after the last answer to `scan`: if anybody scanned objects earlier, a stale word
    // could make an unused slot of a run black whose thread has not been scanned yet.
    unsafe words.pointee.isMarking.store(1, ordering: .relaxed)
    requests.noteMarking()
    terminateMarking()
    unsafe words.pointee.isMarking.store(0, ordering: .relaxed)
    if options.trace { trace.terminate(self) }
    lowerBarrier()
    if options.checks { verify() }
    advanceGeneration()
    counters.markNanoseconds.add(Int(heap_now() - start), ordering: .relaxed)
    if options.trace { trace.end(self, forced: forced, goal: goal) }
  }

  // MARK: - 1

  /// Sweeps what is left of the last cycle, and waits for mutators that are sweeping a span.
  package func finishSweeping() {
    sweepAll()
    // A mutator counts itself before it takes a span from a list (Sweeper): with the lists
    // empty, none can begin, and those that have begun are a span away from the end.
    while unsafe words.pointee.activeSweepers.load(ordering: .acquiring) != 0 {
      heap_pause()
      sweepAll()
    }
  }

  // MARK: - 2

  package func raiseBarrier() {
    // Nothing is left to sweep, and nobody looks for it until all have the next generation.
    unsafe words.pointee.sweepableGeneration.store(0, ordering: .relaxed)
    // Before the flag: whoever sees the flag up and the word down does what a mutator does
    // that has not seen the flag.
    registry.withLock { $0.protocolState.isCollecting = true }
    unsafe words.pointee.barrierIsUp.store(1, ordering: .relaxed)
    roots.setMarking(true, in: self)
    heap_barrier_raise()
    handshake(.sync)
    handshake(.sync)
  }

  // MARK: - 3

  package func scanStacksAndRoots() {
    handshake(.scan) { $0.allocatesBlack = true }
    roots.scan(in: self)
  }

  // MARK: - 5

  /// Marks until nothing is white that is reachable.
  ///
  /// A round: mark all that is queued, then have every mutator flush its buffer. It is clean when
  /// nothing white was found in it, nothing grey was in a mutator's hands (an assist says so
  /// before it takes spans) and nothing is queued. One clean round is not enough: a mutator
  /// that has answered may fill its buffer again, set an object's mark bit and stand still
  /// before it has queued it, and the next one to answer takes the object for marked. It has to
  /// answer once more before its work is known to be visible: hence a second round, before which
  /// nothing is forgotten. After two, no buffer held a white object at its mutator's answer,
  /// and none can come to hold one: every path to a white object would have to begin in a
  /// slot or on a stack, and both are black.
  ///
  /// Model: Verification/marking.pml, switches `no-confirm` and `reset-between`.
  package func terminateMarking() {
    repeat {
      drain()
      // Relaxed: the handshake's words order it before what mutators find in this round.
      unsafe words.pointee.foundWhite.store(0, ordering: .relaxed)
      handshake(.flush)
      if hasWork { continue }
      handshake(.flush)
    } while hasWork
  }

  /// Whether something grey is known of. The queue is looked at first: an assist that takes the
  /// last spans after that has set `foundWhite` before, and taking and looking are ordered by
  /// the queue's length.
  private var hasWork: Bool {
    unsafe !queue.isEmpty || words.pointee.foundWhite.load(ordering: .relaxed) != 0
  }

  // MARK: - 6

  /// Ends the recording of stores.
  ///
  /// Marking has ended (terminateMarking), yet a buffer may hold a white object: an ambiguous word that was
  /// overwritten since may look like a reference to one. That object is garbage, and so is
  /// what is white behind it: nobody changes it, and marking it without a barrier is sound.
  /// It has to be marked whole: an object that lives on must not refer to one that is swept.
  package func lowerBarrier() {
    roots.setMarking(false, in: self)
    heap_barrier_lower()
    unsafe words.pointee.barrierIsUp.store(0, ordering: .relaxed)
    handshake(.off)
    // A drain may leave what a worker put back last.
    repeat { drain() } while !queue.isEmpty
  }

  // MARK: - 7

  package func advanceGeneration() {
    // What is allocated from now on comes on top of what was marked. Set before mutators
    // account in their answers.
    let marked = counters.markedBytes.load(ordering: .relaxed)
    unsafe words.pointee.allocatedBytes.store(marked, ordering: .relaxed)
    handshake(.returnSpans) {
      $0.isCollecting = false
      $0.allocatesBlack = false
      $0.generation &+= 1
      self.setGeneration($0.generation)
    }
    finishFigures()
    // Releasing: a mutator that may sweep sees what all have marked (HeapWords).
    unsafe words.pointee.sweepableGeneration.store(generation, ordering: .releasing)
  }
}
