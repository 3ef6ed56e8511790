// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Cleanups: what is to be done when an object has died.
//
// A cleanup knows its object by address and keeps nothing alive. Its function is Sendable, so it
// cannot hold a reference, and what has died stays dead. It runs on a thread of the heap's own
// (Collector/Weak/CleanupQueue.swift).

internal import Collector

/// A function that runs when an object has died.
///
/// ``HeapMutator/addCleanup(_:_:)`` makes one. Whoever drops it changes nothing: the function runs
/// all the same.
public struct Cleanup: Sendable {
  private let record: CleanupRecord
  private let table: CleanupTable

  init(_ record: CleanupRecord, _ table: CleanupTable) {
    self.record = record
    self.table = table
  }

  /// Sees to it that the function does not run, unless it has begun to.
  ///
  /// On any thread. What the function has captured is released.
  ///
  /// - Returns: whether the function would have run.
  /// - Complexity: O(1).
  @discardableResult
  public func cancel() -> Bool { table.cancel(record) }
}

extension HeapMutator {
  /// Has a function run once, after an object has died.
  ///
  /// When a collection has found that the object can be reached from no root, no stack and no object
  /// that lives, its memory is free to be used again, weak references to it are nil, and the function is
  /// queued. A thread of the heap's own runs what is queued, one after the other.
  ///
  /// ```swift
  /// let file = open(path, O_RDONLY)
  /// let document = mutator.allocate(Document(file: file))
  /// mutator.addCleanup(document) { close(file) }
  /// ```
  ///
  /// Several cleanups of one object all run, in no particular order. The function may allocate: the
  /// thread is in no heap, so it enters with ``ManagedHeap/withMutator(_:)``. A function that takes its
  /// time holds up the others, and the end of the heap.
  ///
  /// The function cannot hold a reference. What it captures must not keep the object alive either: with
  /// a ``HeapRoot`` of the object it never runs. As long as it waits it keeps all it has captured; if that
  /// is the heap, the heap does not end before.
  ///
  /// When the heap ends, what is queued runs. The cleanups of objects that have not been found dead
  /// until then do not run. A value of less than 16 bytes without references shares its memory with
  /// others: its cleanups run when none of them lives.
  ///
  /// - Parameters:
  ///   - reference: the object: a ``HeapRef``, a ``HeapArray``, a ``HeapString`` or a container.
  ///   - action: what is to be done.
  /// - Returns: a handle with which the cleanup can be cancelled.
  /// - Complexity: O(1); takes a lock.
  @discardableResult
  public func addCleanup<Reference: _HeapNonNullReference>(
    _ reference: Reference, _ action: @escaping @Sendable () -> Void
  ) -> Cleanup {
    attached.requireRunning()
    // SAFETY: a reference word is one word.
    let word = unsafe unsafeBitCast(reference, to: UInt.self)
    if attached.isChecked {
      StoreCheck.check(word, expecting: nil, storedInto: "a Cleanup", by: attached)
    }
    StoreCheck.checkOwner(of: word, storedInto: "a Cleanup", by: attached)
    return withExtendedLifetime(reference) {
      attached.withHeap { Cleanup($0.cleanups.add(word, action), $0.cleanups) }
    }
  }
}
