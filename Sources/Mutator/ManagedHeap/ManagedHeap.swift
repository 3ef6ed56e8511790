// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The heap, as a program holds it.
//
// A façade: the collector's heap, the types that are known, the settings. The object may be
// shared between threads freely; what belongs to one thread is a HeapMutator. When the last
// reference to the heap goes, its threads end and every page returns to the system, so it
// must not go while a thread is inside.

internal import CHeapShims
package import Collector
internal import Heap
internal import Synchronization

/// A garbage-collected heap.
///
/// ```swift
/// struct Node: HeapObject {
///   var left: HeapRef<Node>?
///   var right: HeapRef<Node>?
///   var key = 0
/// }
///
/// let heap = try ManagedHeap()
/// let key = heap.withMutator { mutator in
///   let root = mutator.allocate(Node(key: 1))
///   root.left = mutator.allocate(Node(key: 2))
///   return root.left!.key
/// }
/// ```
///
/// Threads enter it with `withMutator`. Inside, references in locals and in objects keep what
/// they refer to alive; everything else is found unreachable by a collector that runs beside
/// the program and never stops its threads together.
public final class ManagedHeap: Sendable {
  /// The settings that the heap was made with.
  public let configuration: HeapConfiguration
  package let core: CollectedHeap
  package let types: TypeTable
  /// CPU time of the process when the heap was made, in nanoseconds.
  let startCPU: UInt64

  /// Makes a heap.
  ///
  /// - Parameter configuration: its settings; by default what the environment says
  ///   (`HEAP_GCPERCENT`, `HEAP_MEMLIMIT`, `HEAP_TRACE`, `HEAP_CHECK`, `HEAP_STRESS`). A
  ///   configuration that is made with `HeapConfiguration()` does not look at the environment.
  /// - Throws: ``HeapError/invalidConfiguration(_:)`` for settings that make no sense, and
  ///   ``HeapError/system(operation:errno:)`` when the system refuses the address space.
  public init(_ configuration: HeapConfiguration = .fromEnvironment()) throws(HeapError) {
    try configuration.validate()
    self.configuration = configuration
    startCPU = heap_process_cpu()
    do throws(SystemFailure) {
      core = try CollectedHeap(CollectorOptions(configuration))
    } catch {
      throw .system(operation: error.operation, errno: error.code)
    }
    types = TypeTable(core: core)
    core.embedder.store(
      UInt(bitPattern: unsafe Unmanaged.passUnretained(self).toOpaque()), ordering: .releasing)
  }

  deinit { core.shutDown() }

  /// The heap of an attached thread.
  static func of(_ mutator: AttachedMutator) -> ManagedHeap {
    let address = mutator.heap.embedder.load(ordering: .acquiring)
    // SAFETY: a heap does not end while a thread is attached.
    let object = unsafe UnsafeRawPointer(bitPattern: address).unsafelyUnwrapped
    return unsafe Unmanaged<ManagedHeap>.fromOpaque(object).takeUnretainedValue()
  }

  // MARK: - Threads

  /// Attaches the calling thread for the time of the call.
  ///
  /// Calls nest, on the same heap (the mutator is the same) and on others. References are valid
  /// inside the call only: its result must be `Sendable`, and they are not. What has to outlive
  /// the call goes into a ``HeapRoot``.
  ///
  /// ```swift
  /// let root = heap.withMutator { mutator in
  ///   HeapRoot(mutator.allocate(Node(key: 1)), in: mutator)
  /// }
  /// ```
  ///
  /// What the body throws is thrown on. A body of several statements states the type of its error,
  /// if that is not `any Error`:
  ///
  /// ```swift
  /// let count = try heap.withMutator { mutator throws(ParseError) in
  ///   let tree = try parse(text, in: mutator)
  ///   return tree.count
  /// }
  /// ```
  ///
  /// - Parameter body: what to do, with the thread's ``HeapMutator``, which is valid inside only.
  /// - Returns: what the body returns.
  /// - Complexity: entering and leaving take a lock and a few hundred nanoseconds.
  @inline(never)
  public func withMutator<Result: Sendable, Failure: Error>(
    _ body: (HeapMutator) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    var outcome: Swift.Result<Result, Failure>?
    func run(_ attached: AttachedMutator) {
      do throws(Failure) {
        outcome = .success(try body(HeapMutator(attached)))
      } catch {
        outcome = .failure(error)
      }
    }
    if let attached = core.attachedMutator {
      CollectedHeap.unblocked(attached) { run(attached) }
    } else {
      let attached = core.attach()
      run(attached)
      core.detach(attached)
    }
    // Set: the body has run.
    return try outcome!.get()
  }

  // MARK: - Collection

  /// A full collection.
  ///
  /// On return everything that was unreachable at the call has been swept. From any thread,
  /// attached or not; an attached one is in a blocking region meanwhile. A stale word on a stack
  /// may keep an object alive.
  public func collect() { core.collectAndWait() }

  /// Collects, then gives the memory behind every free page back to the system.
  ///
  /// Checked mode holds no freed memory out of use afterwards.
  public func releaseFreeMemory() {
    core.collectAndWaitForAll()
    _ = core.pageHeap.releaseFreePages()
  }

  /// How far the heap may grow over its live bytes before it is collected.
  ///
  /// Takes effect at once.
  public var gcPercent: GCPercent {
    get { core.pacer.rules.percent.map { .percent($0) } ?? .off }
    set {
      switch newValue {
      case .off: core.pacer.update { $0.percent = nil }
      case .percent(let percent):
        require(percent >= 0, "gcPercent is \(percent); accepted: \(GCPercent.accepted)")
        core.pacer.update { $0.percent = percent }
      }
    }
  }

  /// Bytes that the heap tries not to exceed by collecting more often; nil: none.
  ///
  /// Takes effect at once.
  public var memoryLimit: Int? {
    get { core.pacer.rules.memoryLimit }
    set {
      require(newValue ?? 0 >= 0, "memoryLimit is negative; accepted: 0 bytes or more, or nil")
      core.pacer.update { $0.memoryLimit = newValue }
    }
  }

  /// Bytes of pages that the heap never exceeds; nil: none.
  ///
  /// Set in the configuration.
  public var hardLimit: Int? { configuration.hardLimit }

  /// Tells the heap of memory outside of it that is taken because of its objects, and goes when they
  /// do: from a thread that is not attached.
  ///
  /// See ``HeapMutator/adjustExternalMemory(by:)``. This call waits for nothing.
  ///
  /// - Parameter bytes: how many more; negative when memory has been given back.
  /// - Precondition: no more is given back than was taken.
  public func adjustExternalMemory(by bytes: Int) { core.pacer.adjustExternal(by: bytes) }

  // MARK: - Types

  /// Makes a type known before its first object, and says how its objects are laid out.
  ///
  /// Optional: a type is registered with its first object at the latest, and ``HeapMutator/allocate(_:)``
  /// stops the program if that cannot be done.
  ///
  /// - Parameter type: the type of the objects.
  /// - Returns: the size of an object, and where its references are.
  /// - Throws: ``HeapError/unsupportedType(_:)`` for a type that cannot be kept in the heap.
  @discardableResult
  public func register<Object: HeapObject>(
    _ type: Object.Type
  ) throws(HeapError) -> ObjectLayout {
    let layout = try ObjectLayout.checked(of: type)
    _ = try types.object(type)
    return layout
  }
}

extension CollectorOptions {
  /// What a heap's configuration says to its collector.
  package init(_ configuration: HeapConfiguration) {
    self.init()
    name = configuration.name
    switch configuration.gcPercent {
    case .off: percent = nil
    case .percent(let value): percent = value
    }
    memoryLimit = configuration.memoryLimit
    hardLimit = configuration.hardLimit
    minimumHeap = configuration.minimumHeap
    workers = configuration.workers ?? max(1, Int(heap_processor_count()) / 4)
    switch configuration.hugePages {
    case .automatic: hugePages = .automatic
    case .system: hugePages = .system
    case .always: hugePages = .always
    case .never: hugePages = .never
    }
    generations = configuration.generations == .automatic
    checks = configuration.checks == .on
    trace = configuration.trace == .cycles
    let stress = configuration.stress
    if stress.collectEvery > 0 { self.stress.collectEvery = stress.collectEvery }
    if stress.minorCycles > 0 { self.stress.minorCycles = stress.minorCycles }
    if stress.barrierBuffer > 0 { self.stress.barrierBuffer = stress.barrierBuffer }
    if stress.handshakeDelay > 0 { self.stress.handshakeDelay = stress.handshakeDelay }
    self.stress.seed = stress.seed
  }
}
