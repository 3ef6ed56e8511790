// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A heap that collects itself: the rooms of this module, put together around one page heap.
//
// The collector knows no Swift type. It has layouts (where the references are), threads that are
// attached, root slots, and one thread of its own that runs cycles. Nothing is shared with other
// heaps of the process but the barrier flag, the arena index, and the right to verify.
//
//   Threads/     who is attached, and the word through which they and the collector talk
//   Cycle/       a collection, step by step; requests for it; handshakes; safepoints
//   Roots/       root slots, stacks
//   Weak/        weak references, ephemerons, cleanups and the thread that runs them
//   Marking/     barrier, markers, the store of grey objects, workers
//   Allocation/  the slow half of allocation, which is where mutators meet the collector
//   Reclaim/     sweeping; destroying what dead objects owned
//   Control/     when a cycle starts, and how much an allocation owes; figures
//   Checking/    the verifier, checked references and stores, freed slots held out of use
//
// Each room is a type that owns its state. It gets the rooms that it needs when it is made, in
// the order below; no room knows this class but the mutator's state, which leads from a thread
// to the rooms.
//
// Overview: Documentation/CollectionCycle.md

internal import CHeapShims
package import Heap
package import Synchronization

/// A heap with its collector.
@safe @usableFromInline package final class CollectedHeap: @unchecked Sendable {
  // Sendable: every field is constant and is itself safe to share; `words` is atomic words.

  package let options: CollectorOptions
  package let pageHeap: PageHeap
  package let central: CentralLists
  package let words: UnsafeMutablePointer<HeapWords>
  package let counters = HeapCounters()
  package let layouts: LayoutCatalog
  package let marking: SharedMarking
  package let roots: RootTable
  package let weak: WeakTable
  package let ephemerons: EphemeronTable
  package let cleanups = CleanupTable()
  package let pacer: Pacer
  package let requests: CycleRequests
  package let registry = MutatorRegistry()
  package let handshakes: Handshakes
  package let safepoints: Safepoints
  package let sweeper: Sweeper
  package let destroyer: Destroyer
  /// Nil: the heap is unchecked.
  private let quarantine: Quarantine?
  package let allocator: Allocator
  package let verifier: Verifier
  package let cycle: CollectionCycle
  private let crew: MarkCrew
  private let forkGeneration = heap_fork_generation()
  /// The address of the object that a program holds.
  package let embedder = Atomic<UInt>(0)

  package init(_ options: CollectorOptions) throws(SystemFailure) {
    self.options = options
    let pageHeap = try PageHeap(hugePages: options.hugePages, byteLimit: options.hardLimit)
    let words = UnsafeMutablePointer<HeapWords>.allocate(capacity: 1)
    unsafe words.initialize(to: HeapWords())
    let reporter = Reporter(name: options.name)
    self.pageHeap = pageHeap
    unsafe self.words = words
    central = CentralLists(memory: pageHeap.memory)
    layouts = LayoutCatalog(memory: pageHeap.memory)
    unsafe marking = SharedMarking(
      owner: pageHeap.owner, words: words, counters: counters,
      check: options.checks ? ReferenceCheck(owner: pageHeap.owner, layouts: layouts) : nil)
    roots = RootTable(marking)
    unsafe weak = WeakTable(roots: roots, words: words)
    ephemerons = EphemeronTable()
    unsafe requests = CycleRequests(words: words)
    let pacer = unsafe Pacer(
      rules: Pacing(
        percent: options.percent, memoryLimit: options.memoryLimit,
        minimumHeap: options.minimumHeap, hasGenerations: options.generations),
      minorCycles: options.stress.minorCycles, words: words, requests: requests, pageHeap: pageHeap)
    self.pacer = pacer
    unsafe handshakes = Handshakes(
      registry: registry, counters: counters, words: words, reporter: reporter,
      stress: options.stress)
    unsafe safepoints = Safepoints(words: words, marking: marking, requests: requests)
    quarantine = options.checks ? Quarantine { pacer.rules.memoryLimit } : nil
    destroyer = Destroyer(layouts: layouts, counters: counters)
    unsafe sweeper = Sweeper(
      central: central, pageHeap: pageHeap, counters: counters, words: words,
      destroyer: destroyer, quarantine: quarantine)
    allocator = Allocator(
      pageHeap: pageHeap, sweeper: sweeper, safepoints: safepoints, requests: requests,
      quarantine: quarantine, options: options)
    crew = MarkCrew(size: max(options.workers, 1), marking: marking)
    verifier = Verifier(
      central: central, handshakes: handshakes, roots: roots, weak: weak,
      ephemerons: ephemerons, cleanups: cleanups, counters: counters, layouts: layouts,
      owner: pageHeap.owner)
    let trace =
      unsafe options.trace
      ? CycleTrace(
        reporter: reporter, words: words, counters: counters, workers: crew.size,
        percent: { pacer.rules.percent }) : nil
    unsafe cycle = CollectionCycle(
      pageHeap: pageHeap, words: words, marking: marking, handshakes: handshakes, roots: roots,
      weak: weak, ephemerons: ephemerons, cleanups: cleanups, crew: crew, sweeper: sweeper,
      pacer: pacer, requests: requests, counters: counters,
      verifier: options.checks ? verifier : nil, trace: trace)
    let hugePages = HugePageWork(pageHeap)
    requests.serve { [cycle] request in
      cycle.run(request)
      hugePages.cycleEnded()
    } work: {
      hugePages.next()
    }
    // In checked mode every reference store goes through the barrier's slow half.
    if options.checks { heap_barrier_raise() }
  }

  deinit {
    if options.checks { heap_barrier_lower() }
    unsafe words.deinitialize(count: 1)
    unsafe words.deallocate()
  }

  /// Ends the heap's threads, and destroys what its objects own.
  ///
  /// On return all that is done, but for one case: a thread that destroys values, of this heap or
  /// another one, has called. It may be in the midst of an object of this heap, or another heap's such
  /// thread may be waiting for it. So this heap's own thread does the rest as soon as it can, and keeps
  /// the heap until then.
  ///
  /// - Precondition: no thread is attached.
  package func shutDown() {
    // After a fork the child process has none of them.
    guard forkGeneration == heap_fork_generation() else { return }
    require(
      attachedCount == 0,
      "a heap ended while a thread was attached to it: leave withMutator first")
    let ending: Destroyer.Ending = { [self] in
      stopCollecting()
      return spansOfOwners()
    }
    // Whoever ends the heap runs the cleanups that are due when nothing is collected any more. It may be
    // their own thread, so the destroying thread does not wait for that one.
    let endingWithCleanups: Destroyer.Ending = { [self] in
      let spans = ending()
      cleanups.queue.finish()
      return spans
    }
    if Destroyer.isOnDestroyingThread, destroyer.end(later: endingWithCleanups) { return }
    // In a blocking region: the calling thread may be attached to other heaps, whose verifier
    // this heap's collector may be waiting for.
    Self.blocking {
      if !destroyer.end(ending) { stopCollecting() }
      cleanups.queue.finish()
    }
  }

  /// Ends the collector's threads, its own first: a cycle that is under way needs its helpers.
  private func stopCollecting() {
    requests.stop()
    crew.stop()
  }

  /// The spans whose objects own values, with no slot in a run. Nothing is collected any more, and
  /// nobody attaches.
  private func spansOfOwners() -> [HeapSpan] {
    registry.forEach { mutator, _ in mutator.returnSpans() }
    var spans: [HeapSpan] = []
    for shelf in central.shelves() where shelf.layout.ownsValues {
      shelf.forEach { spans.append($0) }
    }
    return spans
  }

  // MARK: - Threads

  /// Attaches the calling thread; it is then the thread's innermost mutator.
  ///
  /// - Parameter stackBase: the end of what is scanned of the thread's stack; nil: all of it.
  package func attach(stackBase: UInt? = nil) -> AttachedMutator {
    requireThisProcess()
    return registry.attach(to: self, stackBase: stackBase ?? Self.stackEnd)
  }

  package func detach(_ mutator: AttachedMutator) { registry.detach(mutator) }

  /// The calling thread's mutator in this heap, if it is attached.
  package var attachedMutator: AttachedMutator? { AttachedMutator.current(in: pageHeap.owner) }

  /// How many threads are attached.
  package var attachedCount: Int { registry.attachedCount }

  /// The end of the calling thread's stack.
  private static var stackEnd: UInt {
    var (low, high): (UInt, UInt) = (0, 0)
    let here = UInt(heap_stack_pointer())
    require(
      unsafe heap_thread_stack(&low, &high) && low <= here && here < high,
      "withMutator was called on a stack that is not the thread's own (a signal handler's, or a "
        + "coroutine's): references there would not be found; call it on the thread's own stack")
    return high
  }

  /// Stops the program in a process that was forked after the heap was made.
  private func requireThisProcess() {
    require(
      forkGeneration == heap_fork_generation(),
      "a heap was used in a process that was forked after the heap was made: the heap's threads "
        + "exist in the parent only, and nothing but exec() may follow fork()")
  }

  // MARK: - Collection

  /// A full collection. From any thread: if it is attached to heaps, it is in blocking regions
  /// of all of them meanwhile.
  package func collectAndWait() {
    requireThisProcess()
    requests.collectAndWait()
  }

  /// The same. On return no freed memory is held out of use either, as checked mode does.
  package func collectAndWaitForAll() {
    guard let quarantine else { return collectAndWait() }
    quarantine.suspend { collectAndWait() }
  }

  // MARK: - Layouts

  /// Makes a layout known.
  ///
  /// - Parameters:
  ///   - fieldName: names the field at an offset, in an object or in an element.
  ///   - enumReferences: finds the references in the enums of an object or an element.
  ///   - destroy: destroys what objects own; nil if they own nothing. The first layout that has one
  ///     starts a thread for it.
  package func register(
    _ description: HeapLayout.Description, name: String,
    fieldName: @escaping @Sendable (_ offset: Int) -> String = { "at byte \($0)" },
    enumReferences: EnumReferences? = nil, destroy: DestroyFunction? = nil
  ) throws(SystemFailure) -> HeapLayout {
    if destroy != nil { try destroyer.start() }
    return try layouts.register(
      description, name: name, fieldName: fieldName, enumReferences: enumReferences,
      destroy: destroy)
  }

  /// The type name of a layout.
  package func name(of layout: HeapLayout) -> String { layouts.name(of: layout) }

  // MARK: - Invariants

  /// Reports what is wrong with any structure of the heap.
  /// - Precondition: no thread allocates, and nothing is being collected.
  package func checkInvariants(_ report: (String) -> Void) {
    verifier.checkInvariants(of: pageHeap, report)
    guard let quarantine else { return }
    var held = 0
    verifier.forEachSpan { held += $0.heldCount * Int($0.slotSize) }
    let counted = quarantine.heldBytes.load(ordering: .relaxed)
    if held != counted {
      report("spans hold \(held) bytes out of use, the quarantine counts \(counted)")
    }
  }
}
