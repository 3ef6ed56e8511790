// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Threads for tests: real ones, not tasks, because a thread is what enters a heap.
//
//   TestThreads.run   starts so many threads and returns when all have ended
//   HandLock          a lock that is taken and released by hand. A thread that waits for a
//                     lock reaches no safepoint, so one that is attached to a heap takes it
//                     with `lock(_:)`, which waits inside a blocking region
//   Rendezvous        all threads meet, again and again

import Glibc
import Mutator
import Synchronization

/// Threads of the system that run a closure.
enum TestThreads {
  private final class Work {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// A thread that has been started.
  struct Handle: Sendable {
    fileprivate let thread: pthread_t

    /// Returns when the thread has ended.
    func join() { _ = pthread_join(thread, nil) }
  }

  /// Starts a thread.
  static func start(_ body: @escaping @Sendable () -> Void) -> Handle {
    let work = unsafe Unmanaged.passRetained(Work(body)).toOpaque()
    var thread = pthread_t()
    let error = unsafe pthread_create(
      &thread, nil,
      { context in
        // Set: it is what was passed below.
        unsafe Unmanaged<Work>.fromOpaque(context!).takeRetainedValue().body()
        return nil
      }, work)
    precondition(error == 0, "no thread could be started: \(error)")
    return Handle(thread: thread)
  }

  /// Runs `body` on `count` threads, and returns when all have ended.
  static func run(_ count: Int, _ body: @escaping @Sendable (_ number: Int) -> Void) {
    let handles = (0..<count).map { number in start { body(number) } }
    for handle in handles { handle.join() }
  }

  /// The names of the process's threads.
  static var names: [String] {
    guard let directory = unsafe opendir("/proc/self/task") else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name.0) {
        unsafe String(cString: $0)
      }
      guard let id = Int(name), let file = unsafe fopen("/proc/self/task/\(id)/comm", "r") else {
        continue
      }
      defer { unsafe fclose(file) }
      var line = [CChar](repeating: 0, count: 64)
      guard unsafe fgets(&line, 64, file) != nil else { continue }
      names.append(
        String(
          decoding: line.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init(bitPattern:)),
          as: UTF8.self))
    }
    return names
  }
}

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

/// A place where a fixed number of threads meet.
final class Rendezvous: Sendable {
  private struct State {
    var waiting = 0
    var round = 0
  }

  private let count: Int
  private let state = Mutex(State())

  init(_ count: Int) { self.count = count }

  /// Returns when all threads have called it.
  func meet() {
    let round = state.withLock { state -> Int in
      let round = state.round
      state.waiting += 1
      if state.waiting == count {
        state.waiting = 0
        state.round += 1
      }
      return round
    }
    while state.withLock({ $0.round }) == round { usleep(50) }
  }
}
