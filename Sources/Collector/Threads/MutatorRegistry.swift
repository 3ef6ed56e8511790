// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Who is attached, who was, and what a thread that attaches has to know.
//
// A mutator is in one of three places:
//
//   attached   a thread has it
//   idle       no thread has it. It stays registered and blocked, so handshakes are answered for
//              it, and its runs, its buffer and its debts stay what they are
//   gone       it was idle for a whole cycle and has given everything back. Its memory waits to
//              be a new mutator's
//
// The registry's lock makes attaching atomic against posting a handshake. The collector changes
// the protocol's state in the same critical section in which it posts. So a new mutator is
// either registered and gets the request, or it is made later and starts out as if it had
// answered: its stack is empty and its buffer too, which is what an answer would establish. A
// thread that takes an idle mutator leaves a blocking region: that mutator has been kept up to
// date, or owes an answer that the thread gives.
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
  /// The sweep generation, advanced once a cycle.
  var generation: UInt32 = 2
}

/// The mutators of one heap.
@safe package final class MutatorRegistry: @unchecked Sendable {
  // Sendable: the state is behind the lock, the gate is an atomic word.

  private struct State {
    /// Attached and idle.
    var mutators: [AttachedMutator] = []
    var idle: [AttachedMutator] = []
    var gone: [AttachedMutator] = []
    var protocolState = ProtocolState()
  }

  private let state = HeapLock(State(), rank: .registry)
  /// 1 while the verifier has everybody stand still.
  let gate = WaitWord.make()

  init() {}

  deinit {
    state.withLock { state in
      for mutator in state.mutators + state.gone {
        unsafe mutator.state.deinitialize(count: 1)
        unsafe mutator.state.deallocate()
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

  /// An idle mutator, or a new one; running either way.
  private func takeMutator(for heap: CollectedHeap) -> AttachedMutator {
    while true {
      let taken = state.withLock { state -> (mutator: AttachedMutator, wasIdle: Bool)? in
        // The verifier closes the gate before it takes the lock to post.
        guard gate.value == 0 else { return nil }
        if let idle = state.idle.popLast() {
          // Under the lock, where the collector reads them. All else waits until it is running.
          unsafe idle.state.pointee.wasUsed = true
          unsafe idle.state.pointee.thread = heap_thread_self()
          return (idle, true)
        }
        let place =
          unsafe state.gone.popLast().map { unsafe Self.end($0) }
          ?? UnsafeMutablePointer<MutatorState>.allocate(capacity: 1)
        unsafe place.initialize(
          to: MutatorState(
            heap: heap, generation: state.protocolState.generation,
            allocatesBlack: state.protocolState.allocatesBlack))
        unsafe place.pointee.thread = heap_thread_self()
        let mutator = unsafe AttachedMutator(state: place)
        state.mutators.append(mutator)
        return (mutator, false)
      }
      guard let taken else {
        gate.wait(while: 1)
        continue
      }
      if taken.wasIdle { taken.mutator.leaveBlocking() }
      return taken.mutator
    }
  }

  /// Ends a mutator that is gone, for its memory.
  private static func end(_ mutator: AttachedMutator) -> UnsafeMutablePointer<MutatorState> {
    unsafe mutator.state.deinitialize(count: 1)
    return unsafe mutator.state
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
    state.withLock { $0.idle.append(mutator) }
  }

  /// How many threads are attached.
  var attachedCount: Int { state.withLock { $0.mutators.count - $0.idle.count } }

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
      let idle = Set(state.idle.map(\.address))
      for mutator in state.mutators { body(mutator, idle.contains(mutator.address)) }
    }
  }

  /// Lets go of the mutators that were idle for a whole cycle. They have just handed their spans
  /// back and their buffers are empty.
  ///
  /// - Parameter fold: keeps what a mutator has counted.
  func retireUnused(_ fold: (AttachedMutator) -> Void) {
    state.withLock { state in
      var kept: [AttachedMutator] = []
      for mutator in state.idle {
        let memory = unsafe mutator.state
        // Under the lock an idle mutator stays idle, and no handshake is under way.
        if unsafe memory.pointee.wasUsed {
          unsafe memory.pointee.wasUsed = false
          kept.append(mutator)
        } else if mutator.move(from: MutatorStatus.blocked, to: MutatorStatus.gone) {
          fold(mutator)
          unsafe memory.pointee.cache.shrink()
          unsafe memory.pointee.barrier = BarrierBuffer(capacity: 2)
          state.gone.append(mutator)
        } else {
          kept.append(mutator)
        }
      }
      guard kept.count < state.idle.count else { return }
      let gone = Set(state.idle.map(\.address)).subtracting(kept.map(\.address))
      state.mutators.removeAll { gone.contains($0.address) }
      state.idle = kept
    }
  }

  /// The names of attached threads that owe an answer.
  var silentThreads: [String] {
    state.withLock { state in
      state.mutators.filter(\.owesAnswer).map { threadName(unsafe $0.state.pointee.thread) }
    }
  }
}

/// A thread's name, as the system knows it.
private func threadName(_ thread: UInt64) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16) { buffer in
    guard let start = buffer.baseAddress else { return "" }
    unsafe heap_thread_name_of(thread, start, 16)
    return unsafe String(cString: start)
  }
}
