// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Who is attached, who was, and what a thread that attaches has to know.
//
// A thread has one mutator in a heap, from its first attachment until the heap ends; the memory is
// kept even then (EndedMutators.swift). The mutator is in one of three places:
//
//   attached   the thread is inside the heap
//   idle       the thread has left. The mutator stays registered and blocked, so handshakes are
//              answered for it, and its runs, its buffer and its debts stay what they are
//   gone       it was idle for a whole cycle and has given everything back. A few hundred bytes
//              are left, to which the thread can come back
//
// No other thread ever gets it, for the sake of programs that keep a HeapMutator for too long: the
// inlined half of an allocation trusts the handle, and finds no run in a mutator whose thread has
// left. A mutator that another thread had taken meanwhile would be used by two threads at once.
// (A program that sends a HeapMutator to another thread brings just that about: the compiler does
// not stop it if the handle came from `HeapMutator.current`. Checked mode does.)
// When a thread has ended, the system gives its identity to a new one, and that one gets the
// mutator. So there are about as many as there were threads at a time.
//
// The registry's lock makes attaching atomic against posting a handshake. The collector changes
// the protocol's state in the same critical section in which it posts. So a new mutator is
// either registered and gets the request, or it is made later and starts out as if it had
// answered: its stack is empty and its buffer too, which is what an answer would establish. A
// thread whose mutator is idle leaves a blocking region: that mutator has been kept up to date,
// or owes an answer that the thread gives.
//
// The gate is closed while the verifier has everybody stand still: nobody attaches then.
//
// Guarded by: the lock inside. No handshake is answered under it.
// Model: Verification/handshake.pml

internal import CHeapShims
internal import Heap
internal import Synchronization

/// What all mutators have been told so far.
struct ProtocolState: Sendable {
  /// New slots are marked.
  var allocatesBlack = false
  /// What is allocated black is put on cards.
  var cardsBirths = false
  /// Advanced once a cycle.
  var generation = Generation.first
}

/// Where the registry has a mutator.
enum MutatorPlace { case attached, idle, gone }

/// The mutators of one heap.
@safe package final class MutatorRegistry: @unchecked Sendable {
  // Sendable: the state is behind the lock, the gate is an atomic word.

  private struct State {
    /// The mutators of all threads that have ever been attached.
    var byThread: [UInt64: AttachedMutator] = [:]
    /// Those that are attached or idle.
    var mutators: [AttachedMutator] = []
    var attachedCount = 0
    var protocolState = ProtocolState()
  }

  private let state = HeapLock(State(), rank: .registry)
  /// 1 while the verifier has everybody stand still.
  let gate = WaitWord.make()

  init() {}

  /// Every handle that a program has kept is refused from now on (EndedMutators).
  deinit {
    state.withLock { state in
      for (thread, mutator) in state.byThread {
        if unsafe mutator.state.pointee.place != .gone { Self.end(mutator) }
        EndedMutators.keep(mutator, of: thread)
      }
    }
    gate.destroy()
  }

  // MARK: - Attaching

  /// Attaches the calling thread to the heap; it is then the thread's innermost mutator.
  ///
  /// - Parameter stackBase: the end of the stack that may hold references.
  func attach(to heap: CollectedHeap, stackBase: UInt) -> AttachedMutator {
    let mutator = takeMutator(for: heap)
    let state = unsafe mutator.state
    unsafe state.pointee.stackBase = stackBase
    unsafe state.pointee.fakeStack = UInt(bitPattern: heap_fake_stack())
    unsafe state.pointee.enclosing = UInt(bitPattern: heap_current())
    unsafe heap_set_current(state)
    return mutator
  }

  /// The calling thread's mutator, running.
  private func takeMutator(for heap: CollectedHeap) -> AttachedMutator {
    let thread = heap_thread_self()
    while true {
      let taken = state.withLock { state -> (mutator: AttachedMutator, wasIdle: Bool)? in
        // The verifier closes the gate before it takes the lock to post.
        guard gate.value == 0 else { return nil }
        state.attachedCount += 1
        let own = state.byThread[thread]
        if let own, unsafe own.state.pointee.place == .idle {
          // All else waits until it is running.
          unsafe own.state.pointee.place = .attached
          unsafe own.state.pointee.wasUsed = true
          return (own, true)
        }
        return (Self.begin(own, of: thread, in: heap, &state), false)
      }
      guard let taken else {
        gate.wait(while: 1)
        continue
      }
      if taken.wasIdle { taken.mutator.leaveBlocking() }
      return taken.mutator
    }
  }

  /// A new mutator, in the memory of the thread's last one if that is gone, or of one that the
  /// thread had in a heap that has ended.
  private static func begin(
    _ gone: AttachedMutator?, of thread: UInt64, in heap: CollectedHeap, _ state: inout State
  ) -> AttachedMutator {
    let place: UnsafeMutablePointer<MutatorState>
    if let gone = gone ?? EndedMutators.take(of: thread) {
      unsafe place = gone.state
      unsafe require(place.pointee.place == .gone, "a thread attached twice to the same heap")
      unsafe place.deinitialize(count: 1)
    } else {
      unsafe place = .allocate(capacity: 1)
    }
    unsafe place.initialize(
      to: MutatorState(heap: heap, thread: thread, protocolState: state.protocolState))
    let mutator = unsafe AttachedMutator(state: place)
    state.byThread[thread] = mutator
    state.mutators.append(mutator)
    return mutator
  }

  /// Detaches the calling thread. Its mutator is idle from then on.
  func detach(_ mutator: AttachedMutator) {
    require(
      mutator == AttachedMutator.current,
      "heaps are left in the reverse order of entering them")
    let mutatorState = unsafe mutator.state
    unsafe heap_set_current(UnsafeMutableRawPointer(bitPattern: mutatorState.pointee.enclosing))
    unsafe mutatorState.pointee.enclosing = 0
    // The stack holds no reference any more.
    unsafe mutatorState.pointee.stackBase = 0
    unsafe mutatorState.pointee.fakeStack = 0
    mutator.enterBlocking(stackPointer: 0)
    state.withLock { state in
      unsafe mutatorState.pointee.place = .idle
      state.attachedCount -= 1
    }
  }

  /// How many threads are attached.
  var attachedCount: Int { state.withLock { $0.attachedCount } }

  // MARK: - The collector's side

  /// Changes the protocol's state and looks at every mutator, as one step against attaching.
  func withAll<Result>(
    _ body: (_ mutators: [AttachedMutator], _ state: inout ProtocolState) -> Result
  ) -> Result {
    state.withLock { body($0.mutators, &$0.protocolState) }
  }

  /// Calls `body` with every mutator and whether it is idle. Nobody attaches meanwhile.
  package func forEach(_ body: (_ mutator: AttachedMutator, _ isIdle: Bool) -> Void) {
    state.withLock { state in
      for mutator in state.mutators {
        body(mutator, unsafe mutator.state.pointee.place == .idle)
      }
    }
  }

  /// Lets go of the mutators that were idle for a whole cycle. They have just handed their spans
  /// back and their buffers are empty.
  ///
  /// - Parameter fold: keeps what a mutator has counted.
  func retireUnused(_ fold: (AttachedMutator) -> Void) {
    state.withLock { state in
      state.mutators.removeAll { mutator in
        let memory = unsafe mutator.state
        // Under the lock an idle mutator stays idle, and no handshake is under way.
        guard unsafe memory.pointee.place == .idle else { return false }
        let wasUsed = unsafe memory.pointee.wasUsed
        unsafe memory.pointee.wasUsed = false
        guard !wasUsed, mutator.move(from: MutatorStatus.blocked, to: MutatorStatus.gone) else {
          return false
        }
        fold(mutator)
        Self.giveUp(mutator)
        return true
      }
    }
  }

  /// The status word says that the mutator is gone; now it is, and keeps hardly any memory.
  private static func giveUp(_ mutator: AttachedMutator) {
    let memory = unsafe mutator.state
    unsafe memory.pointee.cache.shrink()
    unsafe memory.pointee.barrier = BarrierBuffer(capacity: 2)
    unsafe memory.pointee.place = .gone
  }

  /// The heap of a mutator ends. No handshake is under way.
  private static func end(_ mutator: AttachedMutator) {
    // A process that was forked while the thread was attached: the table is not hidden.
    if !mutator.isBlocked { unsafe mutator.state.pointee.hide() }
    // Relaxed: whoever takes the mutator takes a lock first.
    unsafe mutator.state.pointee.status.store(MutatorStatus.gone, ordering: .relaxed)
    giveUp(mutator)
  }

  /// The names of attached threads that owe an answer.
  var silentThreads: [String] {
    state.withLock { state in
      state.mutators.filter(\.owesAnswer).map { threadName(unsafe $0.state.pointee.thread) }
    }
  }
}

/// A thread's name, as the system knows it, in quotation marks.
private func threadName(_ thread: UInt64) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16) { buffer in
    let nameless = "a thread without a name"
    guard let start = buffer.baseAddress else { return nameless }
    unsafe heap_thread_name_of(thread, start, 16)
    let name = unsafe String(cString: start)
    return name.isEmpty ? nameless : "\"\(name)\""
  }
}
