// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Workers: the threads that mark in the background.
//
// The collector's thread is one of them. A heap that is given more workers has helpers besides,
// started with the first cycle and asleep between drains. All take grey objects from the
// shared store and put their surplus back.
//
// A drain is open while `drain` has the open bit; its other bits count the workers inside. A
// helper comes in by adding itself while the bit is set, and leaves when it has run dry. The
// collector's thread stays. When it has run dry too, finds the store empty and is alone, it closes
// the drain in one compare-and-exchange from "open, one inside" to 0. So when the drain is over no
// helper is inside and none can come in: nobody has grey objects in its hands but mutators that
// assist, and those note work (SharedMarking). A helper that sleeps through a drain is not
// waited for.
//
// Ordering    `drain` is acquired and released by every step.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// The marking threads of a heap.
@safe package final class MarkCrew: @unchecked Sendable {
  // Sendable: constants, atomics and locks, but for `marker`, which one thread has.

  /// Workers wanted, the collector's thread included.
  let size: Int
  private let marking: SharedMarking
  /// The open bit and the number of workers inside.
  private let drainState = WaitWord.make()
  /// Raised when a drain opens or finds more work; helpers sleep on it.
  private let calls = WaitWord.make()
  private let isStopping = Atomic<Bool>(false)
  private let helpers = HeapLock<Helpers>(Helpers(), rank: .control)
  /// Owner: the collector's thread. Kept from cycle to cycle.
  private var marker: Marker

  private struct Helpers {
    var threads: [HeapThread] = []
    /// The system has refused to start one: the crew makes do with those it has.
    var areRefused = false
  }

  package init(size: Int, marking: SharedMarking) {
    self.size = size
    self.marking = marking
    marker = Marker(marking)
  }

  deinit {
    drainState.destroy()
    calls.destroy()
  }

  private static var open: UInt32 { 1 << 31 }

  /// Bytes scanned between two additions to the assist credit.
  private static var creditGrain: Int { 64 << 10 }

  // MARK: - The collector's thread

  /// Marks until no worker has any work.
  package func drain() {
    guard !marking.grey.isEmpty else { return }
    drainState.store(Self.open | 1)
    if size > 1 { callHelpers() }
    repeat {
      mark(&marker)
      waitForWork()
    } while !isOver()
  }

  /// Closes the drain if the collector's thread is alone in it and nothing is grey.
  private func isOver() -> Bool {
    marking.grey.isEmpty && drainState.exchange(from: Self.open | 1, to: 0)
  }

  /// Looks for work before the collector's thread sleeps for a moment.
  private static var looks: Int { 200 }

  /// Returns when something is grey, or when no helper is inside.
  private func waitForWork() {
    var looks = 0
    while marking.grey.isEmpty {
      let state = drainState.value
      if state == Self.open | 1 { return }
      if looks == 0 || looks >= Self.looks { noteHunger() }
      looks += 1
      if looks < Self.looks { heap_pause() } else { drainState.wait(while: state, atMost: 50_000) }
    }
  }

  /// Marks what the old objects on a card refer to. The card lies in an arena of the heap.
  func scanCard(_ card: UInt) { marker.scanCard(card) }

  /// What `scanCard` has marked is for all.
  func settle() { marker.settle() }

  /// Marks objects and all that they lead to, on the collector's thread alone.
  ///
  /// - Parameter watcher: is told of every object that becomes marked, and has more to mark.
  func mark(_ objects: [UInt], telling watcher: EphemeronWatcher) {
    marker.telling(watcher) { marker in
      for object in objects { marker.mark(object) }
      repeat {
        while marker.scanNext() {}
      } while watcher.markMore(&marker)
    }
    marker.settle()
  }

  // MARK: - Marking

  /// Marks until the store is empty.
  private func mark(_ marker: inout Marker) {
    while marker.scanNext() {
      if marker.scannedBytes >= Self.creditGrain {
        unsafe marking.words.pointee.assistCredit.add(marker.scannedBytes, ordering: .relaxed)
        marker.scannedBytes = 0
      }
      if isWanted() { marker.share() }
    }
    marker.settle()
  }

  /// A worker has run dry: whoever has more than one object shares. Relaxed: a hint.
  private func noteHunger() {
    unsafe marking.words.pointee.isHungry.store(true, ordering: .relaxed)
  }

  /// Whether another worker or an assist has found nothing to do.
  @inline(__always)
  private func isWanted() -> Bool {
    let words = unsafe marking.words
    // Relaxed: a hint.
    if unsafe words.pointee.isHungry.load(ordering: .relaxed) {
      unsafe words.pointee.isHungry.store(false, ordering: .relaxed)
      if size > 1 { callHelpers() }
      return true
    }
    return false
  }

  // MARK: - Helpers

  private func callHelpers() {
    helpers.withLock { helpers in
      while helpers.threads.count < size - 1, !helpers.areRefused {
        // Joined in `stop`, before the crew goes.
        if let thread = HeapThread("heap-marker", { [unowned self] in help() }) {
          helpers.threads.append(thread)
        } else {
          helpers.areRefused = true
        }
      }
    }
    calls.add(1)
    calls.wakeAll()
  }

  /// What a helper does all its life.
  private func help() {
    var marker = Marker(marking)
    var seen: UInt32 = 0
    var cpu = heap_thread_cpu()
    while true {
      let call = calls.value
      // Acquiring: pairs with `stop`.
      if isStopping.load(ordering: .acquiring) { break }
      if call == seen {
        calls.wait(while: seen)
        continue
      }
      seen = call
      while enter() {
        mark(&marker)
        leave()
        let now = heap_thread_cpu()
        marking.counters.markNanoseconds.add(Int(now - cpu), ordering: .relaxed)
        cpu = now
        if !lookForMore() { break }
      }
    }
  }

  /// Comes into the drain; false when none is open.
  package func enter() -> Bool {
    var state = drainState.value
    while state & Self.open != 0 {
      if drainState.exchange(from: state, to: state + 1) { return true }
      state = drainState.value
    }
    return false
  }

  /// Leaves the drain, with nothing in hand.
  package func leave() {
    if drainState.add(-1) == Self.open | 1 { drainState.wakeAll() }
    noteHunger()
  }

  /// Whether something is grey while the drain is open. Looks for a moment.
  private func lookForMore() -> Bool {
    for _ in 0..<2_000 {
      if !marking.grey.isEmpty { return true }
      if drainState.value & Self.open == 0 { return false }
      heap_pause()
    }
    return false
  }

  /// Ends the helpers.
  func stop() {
    isStopping.store(true, ordering: .releasing)
    calls.add(1)
    calls.wakeAll()
    let threads = helpers.withLock { helpers -> [HeapThread] in
      defer { helpers.threads = [] }
      return helpers.threads
    }
    for thread in threads { thread.join() }
  }
}
