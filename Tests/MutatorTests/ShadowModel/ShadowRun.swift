// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// One run of the shadow model: threads, a heap, a shadow, and what is compared when.
//
// The threads work for an epoch, then all meet. Every other time they stay inside the heap,
// with locals that are the only reference to something; every other time they have all left
// it, and then the heap is known exactly:
//
//   staying   each thread compares what its locals lead to; the roots are compared; a
//             collection; at least what was reached is live
//   leaving   the roots are compared; two collections; what is live is what was reached, to
//             the object and to the byte, and all structures are sound
//
// No slack is needed for stale words of stacks, since in the exact comparison no stack is
// scanned.
//
// An undertaker drops root handles from a thread that is attached to nothing.
//
// Owner: `plan`, `reached` and the domains belong to whoever runs between two meetings.

import Collector
import Glibc
import Heap
import Mutator
import Synchronization
import TestSupport

/// How a run is made.
struct ShadowSettings: Sendable {
  /// Of all threads together.
  var operations = 40_000
  var threads = 3
  var seed: UInt64 = 1
  /// Operations of a thread between two meetings.
  var epoch = 2500
  /// Every so many chances a thread collects.
  var collectOneIn = 8
  var configuration = HeapConfiguration()

  /// As the environment says, where it says something.
  func fromEnvironment() -> ShadowSettings {
    var settings = self
    if let operations = TestEnvironment.number("HEAP_TEST_OPERATIONS") {
      settings.operations = operations
      settings.epoch = min(max(2500, operations / threads / 100), 50_000)
    }
    if let threads = TestEnvironment.number("HEAP_TEST_THREADS") { settings.threads = threads }
    if let seed = TestEnvironment.number("HEAP_TEST_SEED") { settings.seed = UInt64(seed) }
    let environment = HeapConfiguration.fromEnvironment()
    if !environment.stress.isNone { settings.configuration.stress = environment.stress }
    if environment.checks == .on { settings.configuration.checks = .on }
    return settings
  }

  var description: String {
    "HEAP_TEST_SEED=\(seed) HEAP_TEST_THREADS=\(threads) HEAP_TEST_OPERATIONS=\(operations) "
      + "HEAP_STRESS=\(configuration.stress) HEAP_CHECK=\(configuration.checks == .on ? 1 : 0)"
  }
}

/// Drops root handles on a thread that is attached to no heap.
final class Undertaker: Sendable {
  // Dropping a root takes the heap's lock of the root table.
  private let burial = HeapLock((), rank: .verifier)
  private let roots = HeapLock<[any AnyObject & Sendable]>([], rank: .types)
  private let closed = Atomic<Bool>(false)

  /// Drops handles until `close` is called.
  func work() {
    while !closed.load(ordering: .acquiring) {
      bury()
      usleep(200)
    }
    bury()
  }

  func close() { closed.store(true, ordering: .releasing) }

  /// Takes a handle over.
  func take(_ root: any AnyObject & Sendable) { roots.withLock { $0.append(root) } }

  /// Drops what was handed over.
  func bury() {
    burial.withLock { _ in
      // The last references, released when the array goes.
      let dead = roots.withLock { roots in
        defer { roots = [] }
        return roots
      }
      _ = consume dead
    }
  }
}

final class ShadowRun: @unchecked Sendable {
  // Sendable: see `Owner` at the head of the file; the rest is constant and safe to share.

  /// What the threads do until they meet.
  struct Plan {
    var operations = 0
    var staysAttached = false
  }

  let settings: ShadowSettings
  let heap: ManagedHeap
  let domains: [ShadowDomain]
  let rendezvous: Rendezvous
  let undertaker = Undertaker()
  private(set) var plan = Plan()
  private(set) var isOver = false
  private(set) var comparisons = 0
  private let reached = HeapLock(Reached(), rank: .records)
  private let problems = HeapLock<[String]>([], rank: .records)
  private let failed = Atomic<Bool>(false)

  init(_ settings: ShadowSettings) throws(HeapError) {
    self.settings = settings
    heap = try ManagedHeap(settings.configuration)
    domains = (0...settings.threads).map { ShadowDomain($0) }
    rendezvous = Rendezvous(settings.threads + 1)
  }

  // MARK: - Failing

  /// Notes what is wrong; the threads stop working.
  func fail(_ problem: String) {
    problems.withLock { if $0.count < 5 { $0.append(problem) } }
    failed.store(true, ordering: .releasing)
  }

  var hasFailed: Bool { failed.load(ordering: .relaxed) }

  /// Adds what a thread has reached from its locals.
  func add(_ other: Reached) { reached.withLock { $0.merge(other) } }

  // MARK: - Running

  /// Runs; what went wrong, with all that is needed to run it again.
  func execute() -> [String] {
    let burials = TestThread { self.undertaker.work() }
    let handles = (0..<settings.threads).map { number in
      TestThread { ShadowWorker(self, number).main() }
    }
    var left = settings.operations / settings.threads
    var staysAttached = false
    while left > 0, !hasFailed {
      plan = Plan(operations: min(left, settings.epoch), staysAttached: staysAttached)
      left -= plan.operations
      staysAttached.toggle()
      reached.withLock { $0 = Reached() }
      rendezvous.meet()
      // They work.
      rendezvous.meet()
      // They compare what their locals lead to.
      rendezvous.meet()
      if !hasFailed { compare() }
    }
    self.isOver = true
    plan = Plan()
    rendezvous.meet()
    for handle in handles { handle.join() }
    undertaker.close()
    burials.join()
    if !hasFailed { compareAtEnd() }
    return problems.withLock { $0.map { "\($0)   [\(settings.description)]" } }
  }

  // MARK: - Comparing

  /// What can be reached from the roots, and was from the locals.
  private func reach() -> Reached {
    let fromRoots = heap.withMutator { mutator in
      var census = Census(domains)
      census.walkRoots(mutator)
      return census.reached
    }
    add(fromRoots)
    return reached.withLock { $0 }
  }

  private func compare() {
    comparisons += 1
    undertaker.bury()
    let reached = reach()
    for problem in reached.problems { fail("comparing: \(problem)") }
    if hasFailed { return }
    let isExact = !plan.staysAttached
    heap.collect()
    if isExact { heap.collect() }
    let bytes = heap.core.counters.liveBytes.load(ordering: .relaxed)
    let objects = heap.core.counters.liveObjects.load(ordering: .relaxed)
    if bytes < reached.bytes || objects < reached.slots.count
      || isExact && (bytes != reached.bytes || objects != reached.slots.count)
    {
      fail(
        "\(objects) objects with \(bytes) bytes are live, reached were \(reached.slots.count) "
          + "with \(reached.bytes); all threads \(isExact ? "had left" : "were attached")")
    }
    if isExact { heap.core.checkInvariants { fail("invariant: \($0)") } }
    for domain in domains {
      domain.forget(allBut: reached.seen)
      if reached.slots.count > 40_000 { domain.thin() }
    }
  }

  /// Without roots, nothing is left.
  private func compareAtEnd() {
    for domain in domains { domain.dropRoots() }
    heap.core.collectAndWaitForAll()
    heap.core.collectAndWaitForAll()
    let statistics = heap.statistics
    let usage = heap.core.pageHeap.usage
    if statistics.liveBytes != 0 || usage.spanCount != 0
      || statistics.allocatedObjects != statistics.freedObjects || statistics.heapBytes != 0
    {
      fail(
        "without roots \(statistics.liveBytes) bytes are live in \(usage.spanCount) spans; "
          + "\(statistics.allocatedObjects) objects were allocated, "
          + "\(statistics.freedObjects) freed; \(statistics.heapBytes) bytes are in the heap")
    }
    heap.core.checkInvariants { fail("invariant: \($0)") }
  }
}
