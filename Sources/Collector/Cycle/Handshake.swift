// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Handshakes: the collector asks every mutator, one by one, to do something at its next
// safepoint. The threads are never stopped together.
//
//   1. Under the registry's lock: change the protocol's state, publish what is asked, and
//      post to each mutator: `request` to one that runs, `serving` to one that is blocked.
//   2. Without the lock: answer for those that are being served, and let each go.
//   3. Wait until all that run have answered.
//
// A safepoint is a run refill, an explicit `safepoint()`, entering a blocking region, and
// detaching. A thread that never comes to one delays the end of the cycle, and nobody else;
// after a while it is reported by name.
//
// The answer is the pause: a stack scan in `scan`, a buffer flush in the others. It grows
// with the thread's own stack and cache, not with the heap nor with the number of threads.
//
// Ordering    `kind` is written before the status word's compare-and-exchange (releasing) and
//             read after an answering thread has seen the request (acquiring).
//
// Model: Verification/handshake.pml

internal import CHeapShims
internal import Heap
internal import Synchronization

/// What a handshake asks for.
enum HandshakeKind: UInt32, Sendable {
  /// Nothing but to pass a safepoint: every store begun before is complete.
  case sync
  /// Mark what your stack refers to; from then on allocate black.
  case scan
  /// Mark what your barrier buffer holds.
  case flush
  /// Mark what your barrier buffer holds, and confirm that you record no more stores.
  case off
  /// Hand your spans back; from then on allocate white, from the new generation.
  case returnSpans
  /// Wait until the verifier is done.
  case park
}

/// What the two sides of a handshake share.
struct HandshakeState: Sendable {
  /// The HandshakeKind asked for.
  let kind = WaitWord.make()
  /// Answers still to come.
  let outstanding = WaitWord.make()
  /// While 1, parked mutators stay where they are.
  let isParked = WaitWord.make()

  func destroy() {
    kind.destroy()
    outstanding.destroy()
    isParked.destroy()
  }
}

extension CollectedHeap {
  // MARK: - The collector's side

  /// Asks all mutators, and returns when all have answered.
  ///
  /// - Parameter update: changes the protocol's state for mutators yet to attach.
  func handshake(_ kind: HandshakeKind, _ update: (inout ProtocolState) -> Void = { _ in }) {
    for mutator in post(kind, update) { serve(mutator) }
    awaitAnswers(kind)
  }

  /// Step 1. The mutators that wait to be served.
  func post(
    _ kind: HandshakeKind, _ update: (inout ProtocolState) -> Void
  ) -> [AttachedMutator] {
    registry.withLock { registry in
      update(&registry.protocolState)
      handshakes.kind.set(kind.rawValue)
      return registry.mutators.filter { post(to: $0) }
    }
  }

  /// Posts to one mutator; true when it is blocked and now waits to be served.
  private func post(to mutator: AttachedMutator) -> Bool {
    // Counted before the request can be seen, and uncounted if it is not made.
    handshakes.outstanding.add(1)
    let state = unsafe mutator.state
    while true {
      let (running, seen) = unsafe state.pointee.status.compareExchange(
        expected: MutatorStatus.running, desired: MutatorStatus.running | MutatorStatus.request,
        ordering: .acquiringAndReleasing)
      if running { return false }
      require(seen == MutatorStatus.blocked, "a mutator has an unanswered handshake")
      let (blocked, _) = unsafe state.pointee.status.compareExchange(
        expected: MutatorStatus.blocked, desired: MutatorStatus.serving,
        ordering: .acquiringAndReleasing)
      if blocked {
        handshakes.outstanding.add(-1)
        return true
      }
    }
  }

  /// Step 2, for one blocked mutator.
  private func serve(_ mutator: AttachedMutator) {
    stressDelay()
    let state = unsafe mutator.state
    perform(mutator, stackPointer: unsafe state.pointee.stackPointer, onBehalf: true)
    letGo(mutator)
  }

  /// serving → blocked.
  func letGo(_ mutator: AttachedMutator) {
    let word = mutator.statusWord
    // Releasing: pairs with the compare-and-exchange of leaveBlocking.
    word.set(MutatorStatus.blocked)
  }

  /// Step 3.
  private func awaitAnswers(_ kind: HandshakeKind) {
    let start = heap_now()
    var isReported = false
    while true {
      let left = handshakes.outstanding.value
      if left == 0 { return }
      handshakes.outstanding.wait(while: left, atMost: 100_000_000)
      if !isReported, heap_now() - start > Self.silenceLimit {
        isReported = true
        report(
          "\(left) thread(s) have not reached a safepoint for 5 s and delay the collection: "
            + silentThreads.joined(separator: ", ")
            + ". Call safepoint() in long loops, and blocking(_:) around waits.")
      }
    }
  }

  /// Nanoseconds after which threads that do not answer are reported.
  private static var silenceLimit: UInt64 { 5_000_000_000 }

  private var silentThreads: [String] {
    registry.withLock { registry in
      registry.mutators.filter { $0.isRequested && !$0.isBlocked }.map {
        unsafe $0.state.pointee.name
      }
    }
  }

  // MARK: - The mutator's side

  /// Answers the handshake that has been posted to a running mutator. On its own thread.
  package func answer(_ mutator: AttachedMutator, stackPointer: UInt) {
    let start = heap_now()
    let state = unsafe mutator.state
    // Acquiring: pairs with the post, so `kind` is this handshake's.
    guard unsafe state.pointee.status.load(ordering: .acquiring) & MutatorStatus.request != 0
    else { return }
    stressDelay()
    perform(mutator, stackPointer: stackPointer, onBehalf: false)
    // Releasing: the collector, having counted the answer, sees what was done in it.
    unsafe state.pointee.status.store(MutatorStatus.running, ordering: .releasing)
    if handshakes.outstanding.add(-1) == 0 { handshakes.outstanding.wakeAll() }
    counters.recordPause(nanoseconds: heap_now() - start)
  }

  /// What a handshake asks for, done by the mutator or on its behalf.
  private func perform(_ mutator: AttachedMutator, stackPointer: UInt, onBehalf: Bool) {
    let state = unsafe mutator.state
    switch HandshakeKind(rawValue: handshakes.kind.value) {
    case .sync:
      break
    case .scan:
      flushBarrier(mutator)
      unsafe state.pointee.marker.scanStack(from: stackPointer, to: state.pointee.stackBase)
      let stackBytes = unsafe max(0, Int(bitPattern: state.pointee.stackBase &- stackPointer))
      counters.rootBytes.add(stackPointer == 0 ? 0 : stackBytes, ordering: .relaxed)
      unsafe state.pointee.marker.settle(self)
      blackenRuns(mutator)
    case .flush, .off:
      flushBarrier(mutator)
    case .returnSpans:
      returnSpans(mutator, keepingUnused: false)
      unsafe state.pointee.allocatesBlack = false
      unsafe state.pointee.generation = generation
    case .park:
      if !onBehalf { parkUntilReleased(mutator, stackPointer: stackPointer) }
    case nil:
      broken("a handshake of no kind")
    }
  }

  private func parkUntilReleased(_ mutator: AttachedMutator, stackPointer: UInt) {
    // The verifier reads the stack while this thread stands here.
    unsafe mutator.state.pointee.stackPointer = stackPointer
    parked.add(1)
    parked.wakeAll()
    while handshakes.isParked.value == 1 { handshakes.isParked.wait(while: 1) }
  }
}
