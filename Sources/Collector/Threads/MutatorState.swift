// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread that is attached to a heap: its cache, its barrier buffer, and the word through
// which it and the collector talk.
//
// The status word has four values:
//
//   running              the thread may touch the heap; it polls at safepoints
//   running | request    … and shall answer the current handshake at its next safepoint
//   blocked              it touches nothing; its stack pointer and registers are stored
//   serving              it is blocked, and the collector is answering a handshake for it
//
//   running → running|request   collector, posting           (CAS, under the registry's lock)
//   running|request → running   the mutator, having answered
//   running → blocked           the mutator, entering a blocking region (CAS: fails on request)
//   blocked → running           the mutator, leaving it       (CAS: fails while serving)
//   blocked → serving           collector, posting           (CAS, under the registry's lock)
//   serving → blocked           collector, having answered; wakes the mutator if it waits
//
// Every transition is one compare-and-exchange on one word, so there is no window between
// looking at the state and changing it. A request is only ever posted to a thread in
// `registry`, and a thread leaves the registry under its lock while it is running and has
// nothing to answer: the collector never touches the state of a thread that is gone.
//
// Owner       all fields but `status`: the thread itself while running or blocked; the
//             collector while serving.
// Ordering    status: acquiring and releasing on every transition, so what one side did to
//             the fields before it gave them up is seen by the other.
//
// Model: Verification/handshake.pml

internal import CHeapShims
public import Heap
public import Synchronization

/// The state of one thread in one heap.
@safe @usableFromInline package struct MutatorState: ~Copyable {
  /// First, so that the allocation path finds it at offset 0.
  @usableFromInline package var cache: ThreadCache
  /// See the head of the file.
  @usableFromInline package let status: Atomic<UInt32>

  /// Allocates marked: set by its answer to `scan`, cleared by its answer to `returnSpans`.
  package var allocatesBlack = false
  /// The generation of the spans it allocates from.
  package var generation: UInt32
  /// What reference stores were recorded and not yet marked.
  package var barrier: BarrierBuffer
  /// Marks on behalf of this thread: barrier flushes, its stack, assists.
  package var marker: Marker
  var tiny = TinyRun()

  /// Everything at or above the stack pointer and below this may hold references.
  package var stackBase: UInt = 0
  /// Where the stack ends, while blocked.
  package var stackPointer: UInt = 0

  /// Bytes taken since they were last added to the heap's.
  package var unaccountedBytes = 0
  /// Bytes to mark before this thread may allocate on.
  package var assistDebt = 0
  /// Bytes and slots taken from spans, less what was given back.
  package var takenBytes = 0
  package var takenSlots = 0
  /// Nanoseconds of processor time spent assisting.
  package var assistNanoseconds = 0
  /// Calls of the slow half left until stress asks for a collection.
  package var callsUntilCollection = 0

  /// The mutator that was the thread's current one before, or 0.
  package let enclosing: UInt
  package let words: UnsafeMutablePointer<HeapWords>
  package let owner: UInt
  package let heap: Unmanaged<CollectedHeap>
  /// The thread's name, for reports.
  let name: String

  init(heap: CollectedHeap, generation: UInt32, enclosing: UInt) {
    cache = ThreadCache()
    status = Atomic(MutatorStatus.running)
    self.generation = generation
    barrier = BarrierBuffer(capacity: heap.options.stress.barrierBuffer ?? BarrierBuffer.size)
    marker = Marker(heap: heap)
    self.enclosing = enclosing
    unsafe words = heap.words
    owner = heap.pageHeap.owner
    unsafe self.heap = Unmanaged.passUnretained(heap)
    name = currentThreadName()
  }
}

/// The calling thread's name, as the system knows it.
private func currentThreadName() -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16) { buffer in
    guard let start = buffer.baseAddress else { return "" }
    unsafe heap_thread_name(start, 16)
    return unsafe String(cString: start)
  }
}

/// The values of a status word.
@usableFromInline package enum MutatorStatus {
  @inlinable package static var running: UInt32 { 0 }
  @inlinable package static var request: UInt32 { 1 }
  @inlinable package static var blocked: UInt32 { 2 }
  @inlinable package static var serving: UInt32 { 4 }
}

/// A handle to an attached thread's state. Valid while the thread is attached.
@safe @frozen @usableFromInline package struct AttachedMutator: Equatable, @unchecked Sendable {
  // Sendable: ownership passes with the status word.
  @usableFromInline package let address: UInt

  package init(state: UnsafeMutablePointer<MutatorState>) { address = UInt(bitPattern: state) }

  package init?(address: UInt) {
    guard address != 0 else { return nil }
    self.address = address
  }

  @inlinable @inline(__always) package var state: UnsafeMutablePointer<MutatorState> {
    // SAFETY: the state lives as long as the thread is attached.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }
  package var heap: CollectedHeap { unsafe state.pointee.heap.takeUnretainedValue() }
  package var enclosing: AttachedMutator? {
    AttachedMutator(address: unsafe state.pointee.enclosing)
  }

  /// The calling thread's innermost mutator.
  package static var current: AttachedMutator? {
    AttachedMutator(address: UInt(bitPattern: unsafe heap_current()))
  }

  package func belongs(to heap: CollectedHeap) -> Bool {
    unsafe state.pointee.owner == heap.pageHeap.owner
  }

  // MARK: - Fast path

  /// Whether a handshake waits for an answer. Relaxed: answering acquires.
  @inlinable @inline(__always)
  package var isRequested: Bool {
    unsafe state.pointee.status.load(ordering: .relaxed) != MutatorStatus.running
  }

  var isBlocked: Bool {
    unsafe state.pointee.status.load(ordering: .relaxed) & ~MutatorStatus.request
      != MutatorStatus.running
  }

  // MARK: - Blocking regions

  /// running → blocked. The stack pointer is stored already.
  func enterBlocking() {
    while true {
      let (done, _) = unsafe state.pointee.status.compareExchange(
        expected: MutatorStatus.running, desired: MutatorStatus.blocked,
        ordering: .acquiringAndReleasing)
      if done { return }
      heap.answer(self, stackPointer: unsafe state.pointee.stackPointer)
    }
  }

  /// blocked → running, once the collector does not serve.
  func leaveBlocking() {
    while true {
      let (done, seen) = unsafe state.pointee.status.compareExchange(
        expected: MutatorStatus.blocked, desired: MutatorStatus.running,
        ordering: .acquiringAndReleasing)
      if done { return }
      statusWord.wait(while: seen)
    }
  }

  /// The status, to wait on.
  var statusWord: WaitWord {
    // SAFETY: an atomic is used where it lies; it does not move while the thread is attached.
    unsafe withUnsafePointer(to: state.pointee.status) { unsafe WaitWord(.init(mutating: $0)) }
  }
}
