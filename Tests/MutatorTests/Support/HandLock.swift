// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A lock that is taken and released by hand. A thread that waits for a lock reaches no safepoint,
// so one that is attached to a heap takes it with `lock(_:)`, which waits inside a blocking region.

import Glibc
import Mutator

/// A lock without a closure.
@safe final class HandLock: @unchecked Sendable {
  // Sendable: the system's lock.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>

  init() {
    unsafe mutex = .allocate(capacity: 1)
    unsafe mutex.initialize(to: pthread_mutex_t())
    _ = unsafe pthread_mutex_init(mutex, nil)
  }

  deinit {
    _ = unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
  }

  func lock() { _ = unsafe pthread_mutex_lock(mutex) }

  func unlock() { _ = unsafe pthread_mutex_unlock(mutex) }

  /// Takes the lock on an attached thread.
  func lock(_ mutator: HeapMutator) {
    if unsafe pthread_mutex_trylock(mutex) == 0 { return }
    mutator.blocking { lock() }
  }
}
