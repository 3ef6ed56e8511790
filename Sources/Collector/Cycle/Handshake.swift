// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Handshakes: the collector asks every mutator, one by one, to do something at its next
// safepoint. The threads are never stopped together.
//
//   1. Under the registry's lock, the collector changes the protocol's state, says what is
//      asked, and posts a request to each mutator.
//   2. Without the lock, it answers for those that are blocked, one at a time. A thread that
//      leaves its blocking region before its turn comes answers itself.
//   3. It waits until all have answered.
//
// A safepoint is a run refill, an explicit `safepoint()`, and entering or leaving a blocking
// region. A thread that never comes to one delays the end of the cycle, and nobody else; after a
// while it is reported by name.
//
// The answer is the pause: a stack scan in `scan`, a buffer flush in the others. It grows with
// the thread's own stack and cache, not with the heap nor with the number of threads.
//
// `sync` asks for nothing but to pass a safepoint, and a blocked thread is at one. Nobody answers
// for it, but its status word is written all the same: the thread reads that word when it leaves,
// and so sees everything that the collector had written before.
//
// Ordering    `kind` is stored before the status word's compare-and-exchange (releasing) and
//             read after an answering thread has seen the request (acquiring). `outstanding`
//             is decremented, acquiring and releasing, after the answer's last store.
// What each kind asks for: HandshakeAnswer.swift
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
  /// Throw away what your barrier buffer holds, confirm that you record no more stores, and from then on
  /// put on cards what you allocate black.
  case off
  /// Hand your spans back; from then on allocate white, from the new generation.
  case returnSpans
  /// Wait until the verifier is done.
  case park
}

/// How the collector asks, and how mutators answer.
@safe package final class Handshakes: @unchecked Sendable {
  // Sendable: constants and atomic words.

  let registry: MutatorRegistry
  let counters: HeapCounters
  private let words: UnsafeMutablePointer<HeapWords>
  private let reporter: Reporter
  private let delay: StressDelay

  /// The HandshakeKind asked for.
  private let kind = Atomic<UInt32>(0)
  /// Answers still to come.
  private let outstanding = WaitWord.make()
  /// The collector sleeps until the last answer. See `awaitAnswers`.
  private let isAwaited = Atomic<Bool>(false)
  /// Mutators that stand still for the verifier.
  private let parked = WaitWord.make()

  init(
    registry: MutatorRegistry, counters: HeapCounters, words: UnsafeMutablePointer<HeapWords>,
    reporter: Reporter, stress: CollectorOptions.Stress
  ) {
    self.registry = registry
    self.counters = counters
    unsafe self.words = words
    self.reporter = reporter
    delay = StressDelay(stress)
  }

  deinit {
    outstanding.destroy()
    parked.destroy()
  }

  // MARK: - The collector's side

  /// Asks all mutators, and returns when all have answered.
  ///
  /// - Parameter update: changes the protocol's state for mutators that attach later.
  func perform(_ kind: HandshakeKind, _ update: (inout ProtocolState) -> Void = { _ in }) {
    for mutator in post(kind, update) { serve(mutator) }
    awaitAnswers()
  }

  /// Step 1. The mutators for which the collector has to answer or to let go.
  private func post(
    _ kind: HandshakeKind, _ update: (inout ProtocolState) -> Void = { _ in }
  ) -> [AttachedMutator] {
    registry.withAll { mutators, state in
      update(&state)
      // Relaxed: the compare-and-exchange of each post releases it.
      self.kind.store(kind.rawValue, ordering: .relaxed)
      // All are counted before the first can answer; then those of whom no answer is wanted are
      // taken off again.
      outstanding.store(UInt32(mutators.count))
      var unasked = 0
      var blocked: [AttachedMutator] = []
      for mutator in mutators {
        switch post(kind, to: mutator) {
        case .running: break
        case .blocked: blocked.append(mutator)
        case .unasked: unasked += 1
        case .held:
          unasked += 1
          blocked.append(mutator)
        }
      }
      if unasked > 0 { outstanding.add(-Int32(unasked)) }
      return blocked
    }
  }

  private enum Posted { case running, blocked, unasked, held }

  private func post(_ kind: HandshakeKind, to mutator: AttachedMutator) -> Posted {
    let (running, blocked) = (MutatorStatus.running, MutatorStatus.blocked)
    while true {
      if mutator.move(from: running, to: running | MutatorStatus.request) { return .running }
      switch kind {
      case .sync: if mutator.move(from: blocked, to: blocked) { return .unasked }
      case .park: if mutator.move(from: blocked, to: MutatorStatus.serving) { return .held }
      default:
        if mutator.move(from: blocked, to: blocked | MutatorStatus.request) { return .blocked }
      }
      // The thread has moved between running and blocked meanwhile. Anything else is a request
      // that was never answered.
      let seen = unsafe mutator.state.pointee.status.load(ordering: .relaxed)
      require(seen == running || seen == blocked, "a mutator has an unanswered handshake")
    }
  }

  /// Step 2, for one mutator that was blocked when the request was posted.
  private func serve(_ mutator: AttachedMutator) {
    delay.wait()
    // The thread may have left its blocking region: then it answers.
    guard
      mutator.move(
        from: MutatorStatus.blocked | MutatorStatus.request, to: MutatorStatus.serving)
    else { return }
    answerOnce(mutator, stackPointer: unsafe mutator.state.pointee.stackPointer)
    mutator.endService()
    outstanding.add(-1)
  }

  /// Nanoseconds that the collector looks for the last answer before it sleeps. Running threads
  /// answer within a few microseconds; more than that takes a processor away from them.
  private static var patience: UInt64 { 20_000 }

  /// Nanoseconds after which threads that do not answer are reported.
  private static var silenceLimit: UInt64 { 5_000_000_000 }

  /// Step 3.
  ///
  /// An answering thread makes a system call only if the collector sleeps. The collector sets
  /// `isAwaited`, then reads the count; the last thread decrements the count, then reads
  /// `isAwaited`; all four are sequentially consistent, so one of the two sees the other.
  private func awaitAnswers() {
    let start = heap_now()
    while outstanding.value != 0 {
      if heap_now() - start > Self.patience { return sleepUntilAnswered(since: start) }
      for _ in 0..<16 { heap_pause() }
    }
  }

  private func sleepUntilAnswered(since start: UInt64) {
    isAwaited.store(true, ordering: .sequentiallyConsistent)
    defer { isAwaited.store(false, ordering: .relaxed) }
    var isReported = false
    while true {
      let left = outstanding.current
      if left == 0 { return }
      outstanding.wait(while: left, atMost: 100_000_000)
      if !isReported, heap_now() - start > Self.silenceLimit {
        isReported = true
        reporter.report(
          "\(left) thread(s) have not reached a safepoint for 5 s and delay the collection: "
            + registry.silentThreads.joined(separator: ", ")
            + ". Call safepoint() in long loops, and blocking(_:) around waits.")
      }
    }
  }

  // MARK: - The mutator's side

  /// Answers the handshake that has been posted to a running mutator. On its own thread.
  ///
  /// - Parameter start: when the thread began to wait for the collector, if it did.
  func answer(_ mutator: AttachedMutator, stackPointer: UInt, since start: UInt64? = nil) {
    let start = start ?? heap_now()
    guard mutator.owesAnswer else { return }
    delay.wait()
    answerOnce(mutator, stackPointer: stackPointer)
    mutator.clearRequest()
    if outstanding.decrement() == 0, isAwaited.load(ordering: .sequentiallyConsistent) {
      outstanding.wakeAll()
    }
    counters.recordPause(nanoseconds: heap_now() - start)
  }

  /// Does what the handshake asks for, on the mutator's thread or for it.
  private func answerOnce(_ mutator: AttachedMutator, stackPointer: UInt) {
    guard let kind = HandshakeKind(rawValue: kind.load(ordering: .relaxed)) else {
      broken("a handshake of no kind")
    }
    if kind == .park { return park(mutator, stackPointer: stackPointer) }
    mutator.answer(
      kind, stackPointer: stackPointer,
      generation: Generation(bits: unsafe words.pointee.generation.load(ordering: .relaxed)))
  }

  // MARK: - Standing still

  /// One verifier at a time in the process: a thread that is attached to two heaps could stand
  /// still for one heap's verifier while the other's waits for it, and two verifiers could wait
  /// for each other so.
  private static let verifying = HeapLock((), rank: .verifier)

  /// Runs `body` while every mutator of the heap stands still.
  func whileParked(_ body: () -> Void) {
    Self.verifying.withLock { _ in
      parked.store(0)
      registry.gate.set(1)
      let held = post(.park)
      // Each running mutator counts itself in `parked` and answers when it is released.
      while parked.value < outstanding.value {
        let now = parked.value
        if now < outstanding.value { parked.wait(while: now, atMost: 1_000_000) }
      }
      body()
      registry.gate.set(0)
      for mutator in held { mutator.endService() }
      awaitAnswers()
    }
  }

  private func park(_ mutator: AttachedMutator, stackPointer: UInt) {
    // The verifier reads the stack while this thread stands here.
    unsafe mutator.state.pointee.stackPointer = stackPointer
    parked.add(1)
    parked.wakeAll()
    while registry.gate.value == 1 { registry.gate.wait(while: 1) }
  }
}
