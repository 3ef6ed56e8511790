// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread that computes one number.
//
// Threads and not tasks: a heap is entered synchronously, a thread stays attached for the time of
// `withMutator`, and its stack is what the collector scans. POSIX threads are used directly since
// nothing else in these programs needs Foundation, whose start-up would show in the figures of
// memory.
//
// The closure travels to the thread as the one argument of its start routine: a retained box,
// released by the thread. The result comes back through the same box. Guarded by: pthread_join, which
// orders everything the thread did before everything that its joiner does.

internal import Glibc

/// A running thread.
///
/// It has to be joined.
@safe
public final class WorkerThread {
  private let box: Box
  private let thread: pthread_t

  /// Starts a thread.
  ///
  /// - Throws: a `ProgramFailure` when the system gives no further thread.
  public init(_ body: @escaping @Sendable () -> Int) throws {
    let box = Box(body)
    self.box = box
    let argument = unsafe Unmanaged.passRetained(box).toOpaque()
    var started = pthread_t()
    let failure = unsafe pthread_create(&started, nil, startRoutine, argument)
    guard failure == 0 else {
      unsafe Unmanaged<Box>.fromOpaque(argument).release()
      let reason = unsafe String(cString: strerror(failure))
      throw ProgramFailure(.heapFailed, "cannot start a thread: \(reason)")
    }
    thread = started
  }

  /// Waits until the thread has ended; returns its result.
  ///
  /// To be called once.
  public func join() -> Int {
    let failure = pthread_join(thread, nil)
    precondition(failure == 0, "a thread can be joined once")
    return box.result
  }
}

/// What is to be done, and what came of it.
// Ordering: written by the thread alone, read after it was joined.
private final class Box: @unchecked Sendable {
  let body: @Sendable () -> Int
  var result = 0

  init(_ body: @escaping @Sendable () -> Int) {
    self.body = body
  }
}

private func startRoutine(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument = unsafe argument else { return nil }
  let box = unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
  box.result = box.body()
  return nil
}
