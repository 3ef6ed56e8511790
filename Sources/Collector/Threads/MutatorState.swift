// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A mutator: what one thread needs in one heap. Its cache of spans, its barrier buffer, its
// marker, what it owes, and the status word through which it and the collector talk
// (MutatorStatus.swift).
//
// A mutator outlives the attachment. A thread that leaves the heap leaves everything here in
// place: the runs it has not used up, the stores it has recorded, its debts. The mutator is idle
// then: still registered, blocked, with an empty stack. When the thread attaches again, it finds
// its mutator as it was (MutatorRegistry). So a short attachment costs little and loses nothing.
//
// Owner       all fields but `status`: the attached thread while the status says running or
//             blocked; the collector while the status says serving; the registry's lock while
//             the mutator is idle or gone.
// Ordering    transitions of `status` acquire and release (MutatorStatus), so what one side
//             wrote before it gave the fields up is seen by the other.
// Lifetime    until the heap ends, and the same thread's all the time. The memory is kept even
//             after that (EndedMutators). A handle that a program keeps for too long finds a
//             mutator that is blocked or gone, and is refused (AttachedMutator). It never finds one
//             that another thread uses, unless the program sends the handle to another thread.

internal import CHeapShims
public import Heap
public import Synchronization

/// The state of one thread in one heap.
@safe @usableFromInline package struct MutatorState: ~Copyable {
  /// First, so that the allocation path finds it at offset 0.
  @usableFromInline package var cache: ThreadCache
  /// See MutatorStatus.
  @usableFromInline package let status: Atomic<UInt32>

  /// Allocates marked: set by its answer to `scan`, cleared by its answer to `returnSpans`.
  package var allocatesBlack: Bool
  /// What it allocates black is put on cards: set by its answer to `off`, cleared by its answer to
  /// `returnSpans`. See RunColour.
  var cardsBirths: Bool
  /// Neither checked mode nor stress has to see every allocation, or every run (RunChange).
  let hasPlainRuns: Bool
  /// The generation of the spans it allocates from.
  package var generation: Generation
  /// The owner of the slots that the thread may store into unasked: the heap, and 0 in a blocking
  /// region, or if every store is checked.
  private(set) var storesInto: UInt = 0
  /// The type of the value that was recorded last, and what is known about it; means nothing here.
  package var recordedType: (key: UInt, map: UInt) = (0, 0)
  /// The reference stores that were recorded and are not yet marked.
  package var barrier: BarrierBuffer
  /// Marks for this mutator: barrier flushes, its stack, assists.
  package var marker: Marker
  var tiny = TinyRun()

  /// Everything at or above the stack pointer and below this may hold references; 0: the
  /// mutator has no stack.
  package var stackBase: UInt = 0
  /// Where the stack ends, while blocked.
  package var stackPointer: UInt = 0
  /// The thread's fake stack, where AddressSanitizer keeps the locals of functions, or 0.
  var fakeStack: UInt = 0

  /// Bytes taken since they were last added to the heap's.
  package var unaccountedBytes = 0
  /// Bytes allocated while marking that have not been paid for.
  package var assistDebt = 0
  /// Allocations left until stress makes one a collection.
  package var callsUntilCollection: Int
  /// What this mutator has done so far.
  package let tally: MutatorTally

  /// The mutator that was the thread's current one before, or 0.
  package var enclosing: UInt = 0
  /// Where the registry has it. Guarded by the registry's lock, like the next two.
  var place = MutatorPlace.attached
  /// The thread has attached since the last cycle ended.
  var wasUsed = true
  /// The thread whose mutator this is.
  let thread: UInt64

  package let words: UnsafeMutablePointer<HeapWords>
  package let owner: UInt
  /// The heap checks every store.
  package let isChecked: Bool
  package let heap: Unmanaged<CollectedHeap>

  init(heap: CollectedHeap, thread: UInt64, protocolState: ProtocolState) {
    self.thread = thread
    cache = ThreadCache()
    status = Atomic(MutatorStatus.running)
    generation = protocolState.generation
    allocatesBlack = protocolState.allocatesBlack
    cardsBirths = protocolState.cardsBirths
    let options = heap.options
    hasPlainRuns = !options.everyAllocationIsSlow
    barrier = BarrierBuffer(capacity: options.stress.barrierBuffer ?? BarrierBuffer.size)
    marker = Marker(heap.marking)
    callsUntilCollection = options.stress.collectEvery ?? 0
    tally = MutatorTally()
    unsafe words = heap.words
    owner = heap.pageHeap.owner
    unsafe self.heap = Unmanaged.passUnretained(heap)
    isChecked = options.checks
    show()
  }

  /// From now on the inlined half of an allocation finds no run, and a store is looked into.
  mutating func hide() {
    cache.hide()
    storesInto = 0
  }

  /// What `hide` has hidden is found again.
  mutating func show() {
    cache.show()
    storesInto = isChecked ? 0 : owner
  }
}

/// What a mutator has done so far. Numbers only grow.
///
/// Owner: the mutator's thread, which alone adds. Ordering: releasing additions; whoever reads
/// `freed…` of the heap before (acquiring) therefore sees at least the allocations of what was
/// freed.
package struct MutatorTally: ~Copyable {
  /// Bytes and slots of objects that were allocated, unused slots of runs not included.
  let allocatedBytes = Atomic<Int>(0)
  let allocatedSlots = Atomic<Int>(0)
  /// Processor time of assists, in nanoseconds.
  let assistNanoseconds = Atomic<Int>(0)
  /// Elapsed time of sweeping for slots, in nanoseconds.
  let sweepNanoseconds = Atomic<Int>(0)

  func countAllocated(slots: Int, bytes: Int) {
    allocatedSlots.add(slots, ordering: .releasing)
    allocatedBytes.add(bytes, ordering: .releasing)
  }
}

/// A handle to a mutator.
@safe @frozen @usableFromInline package struct AttachedMutator: Equatable, @unchecked Sendable {
  // Sendable: ownership passes with the status word.
  @usableFromInline package let address: UInt

  package init(state: UnsafeMutablePointer<MutatorState>) { address = UInt(bitPattern: state) }

  package init?(address: UInt) {
    guard address != 0 else { return nil }
    self.address = address
  }

  @inlinable @inline(__always) package var state: UnsafeMutablePointer<MutatorState> {
    // SAFETY: the memory of a state is never freed.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }
  package var heap: CollectedHeap { unsafe state.pointee.heap.takeUnretainedValue() }

  /// Runs `body` with the heap. Counts no reference, unlike `heap`.
  @inline(__always)
  package func withHeap<Result>(_ body: (CollectedHeap) -> Result) -> Result {
    // SAFETY: a mutator lives as long as its heap.
    unsafe state.pointee.heap._withUnsafeGuaranteedRef(body)
  }

  package var enclosing: AttachedMutator? {
    AttachedMutator(address: unsafe state.pointee.enclosing)
  }

  package func belongs(to heap: CollectedHeap) -> Bool {
    unsafe state.pointee.owner == heap.pageHeap.owner
  }

  // MARK: - The calling thread's mutators

  /// The calling thread's innermost mutator.
  package static var current: AttachedMutator? {
    AttachedMutator(address: UInt(bitPattern: unsafe heap_current()))
  }

  /// The calling thread's mutators, the innermost first: one for each heap that it has entered.
  package static var chain: Chain { Chain(following: current) }

  /// The calling thread's mutators.
  package struct Chain: Sequence, IteratorProtocol {
    fileprivate var following: AttachedMutator?

    package mutating func next() -> AttachedMutator? {
      defer { following = following?.enclosing }
      return following
    }
  }

  /// The calling thread's mutator in the heap `owner`, if it has one.
  package static func current(in owner: UInt) -> AttachedMutator? {
    var next = current
    while let mutator = next {
      if unsafe mutator.state.pointee.owner == owner { return mutator }
      next = mutator.enclosing
    }
    return nil
  }

  /// Stops the program unless the mutator is one of the calling thread's.
  package func requireOwn(file: StaticString = #fileID, line: UInt = #line) {
    require(
      self == Self.current || Self.chain.contains(self),
      "a HeapMutator was used outside the withMutator call that made it, or on another thread: "
        + "it is valid inside that call only, on the thread that made it",
      file: file, line: line)
  }

  /// Stops the program unless the mutator is the calling thread's and may touch the heap.
  package func requireRunning(file: StaticString = #fileID, line: UInt = #line) {
    if self == Self.current, !isBlocked { return }
    requireOwn(file: file, line: line)
    require(
      !isBlocked,
      "a HeapMutator was used inside its own blocking(_:): no heap may be touched there; do it "
        + "after blocking(_:) has returned, or enter withMutator again",
      file: file, line: line)
  }
}
