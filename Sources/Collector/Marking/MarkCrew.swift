// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Workers: the threads that mark in the background.
//
// The collector's thread is one of them; a heap that is given more workers has a thread for
// each other one, started with the first cycle and asleep between drains. All take from the
// shared queue and put their surplus back. A drain is over when every worker has run dry at
// the same time: `idle` counts those without work, and the last one to become idle, with the
// queue empty, says so.
//
// A worker leaves `idle` before it takes from the queue, so whoever reads the queue empty and
// then `idle` complete has seen a moment without work, or work came after it: that is for
// the next drain (terminateMarking looks at the queue again).
//
// Ordering    `idle` and the queue's length are acquiring and releasing.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// The marking threads of a heap.
final class MarkCrew: Sendable {
  let size: Int
  private let idle = Atomic<Int>(0)
  /// Raised at each drain; helpers sleep on it.
  private let drains = WaitWord.make()
  /// 1 when the drain is over.
  private let isOver = WaitWord.make()
  /// Helpers that have not left the drain yet.
  private let inside = WaitWord.make()
  private let isStopping = Atomic<Bool>(false)
  private let threads = Mutex<[UInt64]>([])
  /// The collector thread's own marker, kept from cycle to cycle.
  private let marker = Mutex<Marker?>(nil)

  init(size: Int) { self.size = size }

  deinit {
    marker.withLock { if let marker = $0.take() { marker.destroy() } }
    drains.destroy()
    isOver.destroy()
    inside.destroy()
  }

  /// Bytes scanned between two additions to the assist credit.
  private static var creditGrain: Int { 64 << 10 }

  // MARK: - Draining

  /// Marks until no worker has any work. The collector's thread.
  func drain(_ heap: CollectedHeap) {
    guard !heap.queue.isEmpty else { return }
    startHelpers(heap)
    idle.store(0, ordering: .relaxed)
    isOver.set(0)
    inside.set(UInt32(size - 1))
    if size > 1 {
      drains.add(1)
      drains.wakeAll()
    }
    marker.withLock { marker in
      if marker == nil { marker = Marker(heap: heap) }
      // Just made if it was not there.
      if var own = marker.take() {
        work(&own, heap)
        marker = consume own
      }
    }
    while inside.value != 0 { inside.wait(while: inside.value, atMost: 1_000_000) }
  }

  private func work(_ marker: inout Marker, _ heap: CollectedHeap) {
    while true {
      while marker.scanNext() {
        if marker.scannedBytes >= Self.creditGrain {
          unsafe heap.words.pointee.assistCredit.add(marker.scannedBytes, ordering: .relaxed)
          marker.scannedBytes = 0
        }
        if marker.local.count > 1, isWanted(heap) { marker.shareHalf() }
      }
      marker.settle(heap)
      guard size > 1, waitForWork(heap) else { return }
    }
  }

  /// Whether another worker or an assist has found nothing to do.
  @inline(__always)
  private func isWanted(_ heap: CollectedHeap) -> Bool {
    if unsafe heap.words.pointee.isHungry.load(ordering: .relaxed) != 0 {
      unsafe heap.words.pointee.isHungry.store(0, ordering: .relaxed)
      return true
    }
    return size > 1 && idle.load(ordering: .relaxed) > 0
  }

  /// Returns true when the queue has something, false when the drain is over.
  private func waitForWork(_ heap: CollectedHeap) -> Bool {
    idle.add(1, ordering: .acquiringAndReleasing)
    var spins = 0
    while true {
      if isOver.value == 1 { return false }
      if !heap.queue.isEmpty {
        idle.subtract(1, ordering: .acquiringAndReleasing)
        return true
      }
      if idle.load(ordering: .acquiring) == size {
        isOver.set(1)
        return false
      }
      spins += 1
      if spins < 200 { heap_pause() } else { isOver.wait(while: 0, atMost: 50_000) }
    }
  }

  // MARK: - Helpers

  private func startHelpers(_ heap: CollectedHeap) {
    threads.withLock { threads in
      while threads.count < size - 1 {
        var id: UInt64 = 0
        let context = unsafe Unmanaged.passUnretained(heap).toOpaque()
        // Joined in `stop`, before the heap goes.
        let error = unsafe heap_thread_start(
          &id,
          { context in
            guard let context = unsafe context else { return }
            unsafe Unmanaged<CollectedHeap>.fromOpaque(context)._withUnsafeGuaranteedRef {
              $0.crew.helperMain($0)
            }
          }, context)
        require(error == 0, "a marking thread could not be started: errno \(error)")
        threads.append(id)
      }
    }
  }

  private func helperMain(_ heap: CollectedHeap) {
    unsafe heap_set_thread_name("heap-marker")
    var marker = Marker(heap: heap)
    // The drain that is starting this thread has raised the count already, or will.
    var seen: UInt32 = 0
    while true {
      let now = drains.value
      if isStopping.load(ordering: .acquiring) { break }
      guard now != seen else {
        drains.wait(while: seen)
        continue
      }
      seen = now
      work(&marker, heap)
      if inside.add(-1) == 0 { inside.wakeAll() }
    }
    marker.destroy()
  }

  /// Ends the helpers.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    drains.add(1)
    drains.wakeAll()
    for thread in threads.withLock({ $0 }) { heap_thread_join(thread) }
  }
}

extension CollectedHeap {
  /// Step 4 of a cycle.
  package func drain() { crew.drain(self) }
}
