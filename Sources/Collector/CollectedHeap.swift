// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A heap that collects itself: the pieces of this module around one page heap.
//
// The collector knows no Swift type. It has layouts (where the references are), threads that
// are attached, root slots, and one thread of its own that runs cycles. Nothing is shared
// with other heaps of the process but the barrier flag and the arena index.
//
//   Threads/     who is attached, and the word through which they and the collector talk
//   Cycle/       a collection, step by step; handshakes; the collector's thread
//   Roots/       root slots, stacks
//   Marking/     barrier, markers, the queue, workers
//   Allocation/  the slow half of allocation, which is where mutators meet the collector
//   Reclaim/     sweeping
//   Control/     when a cycle starts, and how much an allocation owes; figures
//   Checking/    the verifier and checked stores
//
// Overview: Documentation/CollectionCycle.md

internal import CHeapShims
package import Heap
package import Synchronization

/// What a heap's collector is told at its making.
package struct CollectorOptions: Sendable {
  /// How the collector is provoked in tests. All nil: not at all.
  package struct Stress: Sendable {
    /// A collection is asked for at every nth allocation of a thread.
    package var collectEvery: Int?
    /// Entries of a barrier buffer.
    package var barrierBuffer: Int?
    /// Longest delay in each answer to a handshake, in microseconds.
    package var handshakeDelay: Int?
    package var seed: UInt64 = 1

    package init() {}
  }

  package var name = ""
  package var percent: Int? = 100
  package var memoryLimit: Int?
  package var hardLimit: Int?
  package var minimumHeap = 4 << 20
  package var workers = 1
  package var hugePages = PageHeap.HugePagePolicy.system
  package var checks = false
  package var trace = false
  package var stress = Stress()

  package init() {}
}

/// A heap with its collector.
@safe @usableFromInline package final class CollectedHeap: @unchecked Sendable {
  // Sendable: every field is constant and is itself safe to share; `words` is atomic words.

  package let options: CollectorOptions
  package let pageHeap: PageHeap
  package let central: CentralLists
  package let roots = RootTable()
  package let counters = HeapCounters()
  package let words: UnsafeMutablePointer<HeapWords>

  let registry = Mutex(Registry())
  package let queue = SpanQueue()
  let crew: MarkCrew
  let handshakes = HandshakeState()
  let parked = WaitWord.make()
  let requests = CycleRequests()
  let trace = CycleTrace()
  let pacing: Mutex<Pacing>
  let layouts = Mutex<[LayoutInfo]>([])
  let random: Mutex<UInt64>
  let startTime = heap_now()
  /// The address of the object that a program holds.
  package let embedder = Atomic<UInt>(0)
  private let generationWord = Atomic<UInt32>(2)
  private let thread = Mutex<UInt64?>(nil)

  /// What is known of a layout beyond its record.
  struct LayoutInfo: Sendable {
    var layout: HeapLayout
    var name: String
  }

  package init(_ options: CollectorOptions) throws(SystemFailure) {
    self.options = options
    pageHeap = try PageHeap(hugePages: options.hugePages, byteLimit: options.hardLimit)
    central = CentralLists(memory: pageHeap.memory)
    unsafe words = .allocate(capacity: 1)
    unsafe words.initialize(to: HeapWords())
    unsafe words.pointee.sweepableGeneration.store(2, ordering: .relaxed)
    crew = MarkCrew(size: max(options.workers, 1))
    pacing = Mutex(
      Pacing(
        percent: options.percent, memoryLimit: options.memoryLimit,
        minimumHeap: options.minimumHeap))
    random = Mutex(options.stress.seed)
    // In checked mode every reference store goes through the barrier's slow half.
    if options.checks { heap_barrier_raise() }
    pace(live: 0)
  }

  deinit {
    if options.checks { heap_barrier_lower() }
    unsafe words.deinitialize(count: 1)
    unsafe words.deallocate()
    handshakes.destroy()
    parked.destroy()
  }

  /// Ends the collector's threads.
  /// - Precondition: no thread is attached.
  package func shutDown() {
    require(
      mutatorCount == 0,
      "a heap ended while a thread was attached to it: leave withMutator first")
    // The collector first: a cycle that is under way needs its helpers.
    requests.stop()
    if let thread = thread.withLock({ $0.take() }) { heap_thread_join(thread) }
    crew.stop()
  }

  // MARK: - Generation

  /// The sweep generation.
  package var generation: UInt32 { generationWord.load(ordering: .relaxed) }

  /// Relaxed: a mutator's own copy is what it works with, and a handshake brings that.
  func setGeneration(_ generation: UInt32) { generationWord.store(generation, ordering: .relaxed) }

  // MARK: - Layouts

  /// Makes a layout known.
  package func register(
    _ description: HeapLayout.Description, name: String
  ) throws(SystemFailure) -> HeapLayout {
    try layouts.withLock { layouts throws(SystemFailure) -> HeapLayout in
      let layout = try HeapLayout.make(
        description, identifier: layouts.count, in: pageHeap.memory)
      layouts.append(LayoutInfo(layout: layout, name: name))
      return layout
    }
  }

  /// The type name of a layout.
  package func name(of layout: HeapLayout) -> String {
    layouts.withLock { $0[layout.identifier].name }
  }

  // MARK: - Threads

  /// Starts the collector's thread if there is none yet: a heap that never collects has none.
  func startThread() {
    thread.withLock { thread in
      guard thread == nil else { return }
      var id: UInt64 = 0
      // The thread is joined before the heap goes (shutDown): it needs no reference of its own.
      let context = unsafe Unmanaged.passUnretained(self).toOpaque()
      let error = unsafe heap_thread_start(
        &id,
        { context in
          guard let context = unsafe context else { return }
          unsafe Unmanaged<CollectedHeap>.fromOpaque(context)._withUnsafeGuaranteedRef {
            $0.collectorMain()
          }
        }, context)
      require(error == 0, "the collector's thread could not be started: errno \(error)")
      thread = id
    }
  }

  // MARK: - Stress

  /// Slots of a run: all, or one at a time when every allocation is counted.
  var runLimit: Int { options.stress.collectEvery == nil ? .max : 1 }

  /// A delay of random length, to move handshakes against each other.
  func stressDelay() {
    guard let longest = options.stress.handshakeDelay, longest > 0 else { return }
    let length = random.withLock { state -> UInt64 in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % UInt64(longest * 1000)
    }
    let end = heap_now() + length
    while heap_now() < end { heap_pause() }
  }
}
