// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Who is attached, and what a thread that attaches has to know.
//
// The registry's lock makes attaching and detaching atomic against posting a handshake. The
// collector changes the protocol's state in the same critical section in which it posts, so
// a thread is either in the list and gets the request, or it attaches later and starts out
// as if it had answered: its stack is empty and its buffer too, which is what an answer
// would establish.
//
// Guarded by: the lock inside. No handshake is answered under it, except by a thread that
// is detaching, for itself.
//
// Model: Verification/handshake.pml

internal import CHeapShims
internal import Heap
internal import Synchronization

/// What all mutators have been told so far.
struct ProtocolState {
  /// From the raising of the barrier to the handshake in which spans are handed back.
  var isCollecting = false
  /// New slots are marked.
  var allocatesBlack = false
  /// The sweep generation, advanced once a cycle.
  var generation: UInt32 = 2
}

struct Registry {
  var mutators: [AttachedMutator] = []
  var protocolState = ProtocolState()
  /// What threads that have left had taken, in bytes and slots.
  var takenBytes = 0
  var takenSlots = 0
  var assistNanoseconds = 0
}

extension CollectedHeap {
  // MARK: - Attaching

  /// Attaches the calling thread; it is then the innermost mutator.
  package func attach(stackBase: UInt) -> AttachedMutator {
    let enclosing = UInt(bitPattern: unsafe heap_current())
    let state = UnsafeMutablePointer<MutatorState>.allocate(capacity: 1)
    let mutator = unsafe AttachedMutator(state: state)
    while true {
      let isIn = registry.withLock { registry in
        // The verifier has stopped everybody; it raises the word before it takes the lock.
        guard handshakes.isParked.value == 0 else { return false }
        unsafe state.initialize(
          to: MutatorState(
            heap: self, generation: registry.protocolState.generation, enclosing: enclosing))
        unsafe state.pointee.stackBase = stackBase
        unsafe state.pointee.allocatesBlack = registry.protocolState.allocatesBlack
        registry.mutators.append(mutator)
        return true
      }
      if isIn { break }
      handshakes.isParked.wait(while: 1)
    }
    unsafe state.pointee.callsUntilCollection = options.stress.collectEvery ?? 0
    unsafe heap_set_current(state)
    return mutator
  }

  /// Detaches the calling thread, which has left all its blocks.
  package func detach(_ mutator: AttachedMutator) {
    require(
      mutator.address == UInt(bitPattern: unsafe heap_current()),
      "heaps are left in the reverse order of entering them")
    let state = unsafe mutator.state
    // The stack holds no reference any more: nothing to scan in a last answer.
    unsafe state.pointee.stackBase = 0
    while true {
      if mutator.isRequested { answer(mutator, stackPointer: 0) }
      let isGone = registry.withLock { registry in
        // Answered outside: an answer may wait for the collector, which may want the lock.
        guard !mutator.isRequested else { return false }
        flushBarrier(mutator)
        returnSpans(mutator, keepingUnused: registry.protocolState.isCollecting)
        account(mutator)
        registry.takenBytes += unsafe state.pointee.takenBytes
        registry.takenSlots += unsafe state.pointee.takenSlots
        registry.assistNanoseconds += unsafe state.pointee.assistNanoseconds
        registry.mutators.removeAll { $0 == mutator }
        return true
      }
      if isGone { break }
    }
    let enclosing = unsafe state.pointee.enclosing
    unsafe heap_set_current(UnsafeMutableRawPointer(bitPattern: enclosing))
    unsafe state.pointee.barrier.destroy()
    unsafe state.pointee.marker.destroy()
    unsafe state.deinitialize(count: 1)
    unsafe state.deallocate()
  }

  /// The calling thread's mutator in this heap, if it is attached.
  package var attachedMutator: AttachedMutator? {
    var next = AttachedMutator(address: UInt(bitPattern: unsafe heap_current()))
    while let mutator = next {
      if unsafe mutator.state.pointee.owner == pageHeap.owner { return mutator }
      next = mutator.enclosing
    }
    return nil
  }

  /// How many threads are attached.
  package var mutatorCount: Int { registry.withLock { $0.mutators.count } }
}
