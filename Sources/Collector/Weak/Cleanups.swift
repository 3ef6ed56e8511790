// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Cleanups: functions that run when an object has died.
//
//     waiting ──the object dies──► due ──the heap's thread──► over
//        └────────── cancelled ─────┴──────────────────────────►
//
// The table has the waiting ones, each with the address of its object. When marking has ended, and
// after weak references have been cleared, the collector goes through it (`settle`): a cleanup whose
// object is not marked is due, and goes to the queue. As with weak references, the object was there
// before the cleanup, so that a minor cycle goes through those only that were added since the last
// cycle.
//
// Nobody marks after the end of marking, and what is due has left the table before anything is
// swept. So a cleanup is due once, and another object in the same place has nothing to do with it.
//
// Who runs, or cancels, a cleanup takes its function out of it, in one step: one of them gets it.
// A cancelled cleanup stays in the table until the collector comes to it, or until half of the table
// is cancelled. The program's functions never run on the collector's thread.
//
// At the heap's end those that are due run. Those that wait are forgotten: their objects have not been
// found dead.
//
// Owner       `settle`: the collector's thread. The rest: any thread.
// Guarded by  the lock inside.
// The queue and its thread: CleanupQueue.swift. Model: Verification/weak.pml, CLEANUP

internal import Heap
internal import Synchronization

/// A function that is to run when an object has died.
package final class CleanupRecord: @unchecked Sendable {
  // Sendable: `action` belongs to whoever has moved `isTaken` from false to true, and until then to
  // nobody.

  /// The object's address.
  fileprivate let target: UInt
  private var action: (@Sendable () -> Void)?
  /// Acquiring and releasing: who takes the function sees it.
  private let isTaken = Atomic<Bool>(false)
  /// It has left the table for the queue. Relaxed: for figures.
  fileprivate let isDue = Atomic<Bool>(false)

  fileprivate init(target: UInt, _ action: @escaping @Sendable () -> Void) {
    self.target = target
    self.action = action
  }

  /// It has neither run nor been cancelled. Relaxed: a hint, until the function is taken.
  fileprivate var isWaiting: Bool { !isTaken.load(ordering: .relaxed) }

  /// The function, for the one who asks first.
  func take() -> (@Sendable () -> Void)? {
    guard !isTaken.exchange(true, ordering: .acquiringAndReleasing) else { return nil }
    defer { action = nil }
    return action
  }
}

/// All cleanups of a heap whose objects live.
package final class CleanupTable: Sendable {
  private struct Waiting {
    /// Added since the collector settled last.
    var young: [CleanupRecord] = []
    var settled: [CleanupRecord] = []

    var count: Int { young.count + settled.count }
  }

  private let waiting = HeapLock(Waiting(), rank: .weak)
  package let queue = CleanupQueue()
  /// Cleanups in the table, or in the collector's hands. Relaxed: a figure.
  private let known = Atomic<Int>(0)
  /// Those of them that are cancelled. Relaxed: a figure.
  private let cancelled = Atomic<Int>(0)

  init() {}

  // MARK: - The program's side

  /// Has a function run when the object at an address has died. The caller holds the object.
  package func add(_ target: UInt, _ action: @escaping @Sendable () -> Void) -> CleanupRecord {
    let record = CleanupRecord(target: target, action)
    waiting.withLock { waiting in
      if isMostlyCancelled(waiting.count) {
        let before = waiting.count
        waiting.young.removeAll { !$0.isWaiting }
        waiting.settled.removeAll { !$0.isWaiting }
        forget(before - waiting.count, ofCancelled: before - waiting.count)
      }
      waiting.young.append(record)
    }
    known.add(1, ordering: .relaxed)
    return record
  }

  /// Cancelled cleanups that are always tolerated.
  private static var tolerance: Int { 1024 }

  private func isMostlyCancelled(_ count: Int) -> Bool {
    cancelled.load(ordering: .relaxed) > max(count / 2, Self.tolerance)
  }

  private func forget(_ count: Int, ofCancelled cancelled: Int) {
    known.subtract(count, ordering: .relaxed)
    self.cancelled.subtract(cancelled, ordering: .relaxed)
  }

  /// Sees to it that a cleanup does not run, unless it has begun to. Its function is given up.
  ///
  /// - Returns: whether it would have run.
  package func cancel(_ record: CleanupRecord) -> Bool {
    let action = record.take()
    if action != nil, !record.isDue.load(ordering: .relaxed) {
      cancelled.add(1, ordering: .relaxed)
    }
    return action != nil
  }

  // MARK: - The collector's side

  /// Queues the cleanups of all objects that are dead. Marking has ended.
  func settle(_ kind: CycleKind) {
    guard known.load(ordering: .relaxed) > 0 else { return }
    var (young, settled): ([CleanupRecord], [CleanupRecord]) = waiting.withLock { waiting in
      defer { waiting = Waiting() }
      return (waiting.young, waiting.settled)
    }
    var due: [CleanupRecord] = []
    filter(&young, &due)
    if kind == .full { filter(&settled, &due) }
    settled.append(contentsOf: young)
    let kept = settled
    waiting.withLock { $0.settled = kept }
    if !due.isEmpty { queue.add(due) }
  }

  /// Keeps the cleanups of living objects.
  private func filter(_ records: inout [CleanupRecord], _ due: inout [CleanupRecord]) {
    let before = records.count
    var cancelled = 0
    records.removeAll { record in
      guard record.isWaiting else {
        cancelled += 1
        return true
      }
      if MarkBit(of: record.target).isSet { return false }
      record.isDue.store(true, ordering: .relaxed)
      due.append(record)
      return true
    }
    forget(before - records.count, ofCancelled: cancelled)
  }

  // MARK: - Figures, checks

  /// Cleanups that wait for the end of their objects or are due, and those that have run.
  package var figures: (waiting: Int, run: Int) {
    let (due, run) = queue.figures
    return (
      max(known.load(ordering: .relaxed) - cancelled.load(ordering: .relaxed), 0) + due, run
    )
  }

  /// Calls `body` with the object of each cleanup that waits. No cycle is being settled.
  package func forEachTarget(_ body: (UInt) -> Void) {
    let targets = waiting.withLock { waiting in
      (waiting.young + waiting.settled).filter(\.isWaiting).map(\.target)
    }
    for target in targets { body(target) }
  }

  /// Cleanups in the table, cancelled ones included.
  package var recordCount: Int { waiting.withLock { $0.count } }

  /// Reports objects that are none. Nothing is being collected.
  func checkInvariants(owner: UInt, _ report: (String) -> Void) {
    forEachTarget { target in
      if HeapSpan.lookUp(target, owner: owner) == nil {
        report("a cleanup waits for \(StoreCheck.hex(target)), which is no object")
      }
    }
  }
}
