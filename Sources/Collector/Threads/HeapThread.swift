// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread of the heap's own: the collector's, or a marking helper.
//
// Such a thread takes none of the program's signals except the fatal ones, so that a crash in
// it has a backtrace. Whoever starts one joins it before what its body uses goes away, unless the body
// keeps that itself (CleanupQueue).

internal import CHeapShims
internal import Glibc

/// A thread that the heap has started.
package struct HeapThread: Sendable {
  private let id: UInt64

  private final class Start: Sendable {
    let name: StaticString
    let body: @Sendable () -> Void

    init(_ name: StaticString, _ body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts a thread; nil when the system refuses.
  ///
  /// - Parameter name: what debuggers and profilers show, at most 15 bytes.
  package init?(_ name: StaticString, _ body: @escaping @Sendable () -> Void) {
    var id: UInt64 = 0
    let start = unsafe Unmanaged.passRetained(Start(name, body))
    let error = unsafe heap_thread_start(
      &id,
      { context in
        guard let context = unsafe context else { return }
        let start = unsafe Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
        start.name.withUTF8Buffer { name in
          unsafe name.withMemoryRebound(to: CChar.self) { name in
            guard let name = name.baseAddress else { return }
            unsafe heap_set_thread_name(name)
          }
        }
        start.body()
      }, start.toOpaque())
    guard error == 0 else {
      unsafe start.release()
      return nil
    }
    self.id = id
  }

  /// Returns when the thread has ended.
  package func join() { heap_thread_join(id) }

  /// Nobody joins the thread: what it needs is given back by the system when it has ended.
  func detach() { _ = pthread_detach(pthread_t(id)) }
}
