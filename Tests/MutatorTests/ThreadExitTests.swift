// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread may end in the middle of withMutator, by pthread_exit. Its mutator would never answer
// the collector again, or its stack would be gone: the process stops and says so.

import Glibc
import Mutator
import TestSupport
import Testing

@Suite("A thread that ends inside") struct ThreadExitTests {
  private static func expectMessage(_ result: ExitTest.Result?) {
    let text = result?.message ?? ""
    #expect(text.contains("a thread ended inside withMutator"))
    #expect(text.contains("Return from withMutator before the thread ends"))
  }

  @Test("pthread_exit inside withMutator stops the process, and says what to do")
  func running() async {
    Self.expectMessage(
      await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        let heap = try ManagedHeap()
        onThreads(1) { _ in heap.withMutator { _ -> Void in pthread_exit(nil) } }
      })
  }

  @Test("pthread_exit inside a blocking region stops the process, and says what to do")
  func blocked() async {
    Self.expectMessage(
      await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        let heap = try ManagedHeap()
        onThreads(1) { _ in
          heap.withMutator { mutator in mutator.blocking { () -> Void in pthread_exit(nil) } }
        }
      })
  }

  @Test("pthread_exit after withMutator is nobody's business")
  func after() async {
    await #expect(processExitsWith: .success) {
      let heap = try ManagedHeap()
      onThreads(1) { _ in
        heap.withMutator { _ in heap.withMutator { _ in } }
        pthread_exit(nil)
      }
      heap.collect()
    }
  }
}
