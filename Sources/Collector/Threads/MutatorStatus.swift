// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The status word of a mutator, and what moves it.
//
//   running             the thread may touch the heap; it polls at safepoints
//   running | request   … and shall answer the current handshake at its next safepoint
//   blocked             it touches nothing; its stack pointer and registers are stored
//   blocked | request   … and a handshake waits for an answer, from whoever comes first
//   serving             it is blocked, and the collector is answering for it
//   serving | waiter    … and the thread sleeps until that is done
//   gone                no thread has it, nor will one
//
//   running → running|request      the collector, posting        under the registry's lock
//   blocked → blocked|request      the collector, posting        under the registry's lock
//   running|request → running      the thread, having answered
//   running → blocked              the thread, entering a blocking region (answers first)
//   blocked → running              the thread, leaving it
//   blocked|request → running|request   the thread, leaving it: it answers itself, at once
//   blocked|request → serving      the collector, about to answer
//   blocked → serving              the verifier, which holds the thread until it is done
//   serving → serving|waiter       the thread, which wants to leave and goes to sleep
//   serving[|waiter] → blocked     the collector, having answered; wakes a waiter
//
// Each transition but one is a read-modify-write on one word, so there is no window between looking
// at the state and changing it. The exception is running|request → running, a plain releasing
// store: while the request stands, nobody but the thread writes the word. A thread that leaves a
// blocking region waits for its own service at the most, never for another thread's.
//
// Ordering    Every transition releases, and every one but that store acquires: see
//             Note [Status word] in Documentation/MemoryOrdering.md.
// Model: Verification/handshake.pml

internal import CHeapShims
internal import Heap
public import Synchronization

/// The values of a status word.
@usableFromInline package enum MutatorStatus {
  @inlinable package static var running: UInt32 { 0 }
  @inlinable package static var request: UInt32 { 1 }
  @inlinable package static var blocked: UInt32 { 2 }
  @inlinable package static var serving: UInt32 { 4 }
  @inlinable package static var waiter: UInt32 { 8 }
  @inlinable package static var gone: UInt32 { 16 }
}

extension AttachedMutator {
  // MARK: - Fast path

  /// Whether a handshake waits for an answer, or the mutator may not be used at all: blocked, or
  /// gone. Relaxed: answering acquires.
  @inlinable @inline(__always)
  package var isRequested: Bool {
    unsafe state.pointee.status.load(ordering: .relaxed) != MutatorStatus.running
  }

  // MARK: - Looking

  /// Neither running nor about to answer: a blocking region, an idle mutator, a mutator gone.
  package var isBlocked: Bool {
    unsafe state.pointee.status.load(ordering: .relaxed) & ~MutatorStatus.request
      != MutatorStatus.running
  }

  /// A handshake was posted to the running thread, which has not answered yet.
  var owesAnswer: Bool {
    // Acquiring: pairs with the post, so what the handshake asks for is visible.
    unsafe state.pointee.status.load(ordering: .acquiring)
      == MutatorStatus.running | MutatorStatus.request
  }

  // MARK: - Transitions

  /// One transition; false, and nothing has changed, when the status is another.
  func move(from old: UInt32, to new: UInt32) -> Bool {
    unsafe state.pointee.status.compareExchange(
      expected: old, desired: new, ordering: .acquiringAndReleasing
    ).exchanged
  }

  /// The answer to a handshake has been given.
  func clearRequest() {
    // A store will do: no handshake is posted before this one is over, and it is not over before
    // the answer is counted. Releasing: whoever sees the status sees what the answer did.
    unsafe state.pointee.status.store(MutatorStatus.running, ordering: .releasing)
  }

  /// running → blocked. The thread stands at the stack pointer until it leaves.
  func enterBlocking(stackPointer: UInt) {
    unsafe state.pointee.stackPointer = stackPointer
    countRuns()
    // From here on the slow halves of allocations and stores refuse.
    unsafe state.pointee.hide()
    while !move(from: MutatorStatus.running, to: MutatorStatus.blocked) {
      heap.handshakes.answer(self, stackPointer: stackPointer)
    }
  }

  /// blocked → running. Waits while the collector answers for the thread, and answers itself
  /// what the collector has not yet come to.
  func leaveBlocking() {
    if !move(from: MutatorStatus.blocked, to: MutatorStatus.running) { leaveBlockingSlow() }
    unsafe state.pointee.show()
  }

  @inline(never)
  private func leaveBlockingSlow() {
    let start = heap_now()
    let (blocked, request) = (MutatorStatus.blocked, MutatorStatus.request)
    let (serving, waiter) = (MutatorStatus.serving, MutatorStatus.waiter)
    while true {
      // Acquiring: pairs with the collector's last store of the service.
      let seen = unsafe state.pointee.status.load(ordering: .acquiring)
      switch seen {
      case blocked:
        guard move(from: blocked, to: MutatorStatus.running) else { continue }
        return heap.counters.recordPause(nanoseconds: heap_now() - start)
      case blocked | request:
        guard move(from: seen, to: MutatorStatus.running | request) else { continue }
        return heap.handshakes.answer(
          self, stackPointer: unsafe state.pointee.stackPointer, since: start)
      case serving:
        guard move(from: serving, to: serving | waiter) else { continue }
        statusWord.wait(while: serving | waiter)
      default:
        statusWord.wait(while: seen)
      }
    }
  }

  /// serving → blocked. Wakes the thread if it wants to leave.
  func endService() {
    // Releasing: the thread that leaves sees what was done for it.
    let old = unsafe state.pointee.status.exchange(
      MutatorStatus.blocked, ordering: .acquiringAndReleasing)
    if old & MutatorStatus.waiter != 0 { statusWord.wakeAll() }
  }

  /// The status, to wait on.
  private var statusWord: WaitWord {
    // SAFETY: an atomic is used where it lies, and a state does not move.
    unsafe withUnsafePointer(to: state.pointee.status) { unsafe WaitWord(.init(mutating: $0)) }
  }
}
