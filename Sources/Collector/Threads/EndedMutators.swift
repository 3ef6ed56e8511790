// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The mutators of heaps that have ended.
//
// A program may keep a HeapMutator for longer than the heap lives. Each use of it reads the
// mutator's state: the inlined half of an allocation reads the table, a safepoint reads the
// status word. So the memory of a state is never given back to the system's allocator. When a
// heap ends, its mutators come here. They are gone by then: no run is found in them, and the
// status word says that nobody may use them.
//
// A mutator stays its thread's. When the thread attaches to another heap, it takes the memory of
// one of its own from here. So what is kept is as much as a thread has ever used at a time, in heaps
// that it was attached to; and a handle that was kept for too long never meets a mutator that
// another thread uses. While the thread is inside such a later heap, the handle may be the same as
// the one that the thread has now.
//
// Guarded by: the lock inside, which is taken with a registry's lock held.

internal import Heap

/// Mutators that their heaps have left behind, in the whole process.
enum EndedMutators {
  private static let byThread = HeapLock([UInt64: [AttachedMutator]](), rank: .records)

  /// Keeps a mutator.
  ///
  /// - Precondition: it is gone.
  static func keep(_ mutator: AttachedMutator, of thread: UInt64) {
    byThread.withLock { $0[thread, default: []].append(mutator) }
  }

  /// A mutator of a thread, if any is kept.
  static func take(of thread: UInt64) -> AttachedMutator? {
    byThread.withLock { $0[thread]?.popLast() }
  }
}
