// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// One line a cycle on standard error (HEAP_TRACE=1):
//
//     heap: gc 7 @0.412s 3% (forced): 0.05+8.10+0.02 ms, 9.3 ms cpu, 4->5->2 MiB, goal 5 MiB,
//     100%, 1 worker, max handshake 41 us
//
//   7             the cycle's number
//   @0.412s       seconds since the heap was made
//   3%            of that time in which a collection was under way
//   0.05+8.10+…   milliseconds: barrier, stacks and roots · marking · hand-over to sweeping
//   cpu           of the collector's own thread
//   4->5->2 MiB   allocated at the start, at the end of marking, and found live
//   handshake     the longest pause of any thread so far
//
// Owner: the collector's thread; the lock is for the checker's sake and never waited for.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// The times of the cycle under way.
final class CycleTrace: Sendable {
  private struct Times {
    var start: UInt64 = 0
    var marking: UInt64 = 0
    var terminated: UInt64 = 0
    var cpu: UInt64 = 0
    var allocatedAtStart = 0
    var allocatedAtEnd = 0
    var busy: UInt64 = 0
  }

  private let times = Mutex(Times())

  func begin(_ heap: CollectedHeap) {
    times.withLock {
      $0.start = heap_now()
      $0.cpu = heap_thread_cpu()
      $0.allocatedAtStart = unsafe heap.words.pointee.allocatedBytes.load(ordering: .relaxed)
    }
  }

  func mark() { times.withLock { $0.marking = heap_now() } }

  func terminate(_ heap: CollectedHeap) {
    times.withLock {
      $0.terminated = heap_now()
      $0.allocatedAtEnd = unsafe heap.words.pointee.allocatedBytes.load(ordering: .relaxed)
    }
  }

  /// Writes the line.
  func end(_ heap: CollectedHeap, forced: Bool, goal: Int) {
    let now = heap_now()
    let line = times.withLock { times -> String in
      times.busy += now - times.start
      let age = max(now - heap.startTime, 1)
      let counters = heap.counters
      let live = counters.liveBytes.load(ordering: .relaxed)
      let workers = heap.crew.size
      let percent = heap.currentPacing.percent.map { "\($0)%" } ?? "off"
      let pause = counters.pauseLongest.load(ordering: .relaxed) / 1000
      let phases = [
        times.marking - times.start, times.terminated - times.marking, now - times.terminated,
      ]
      return
        "gc \(counters.cycles.load(ordering: .relaxed)) @\(Self.decimal(age / 1_000_000, digits: 3))s "
        + "\(times.busy * 100 / age)%\(forced ? " (forced)" : ""): "
        + phases.map(Self.milliseconds).joined(separator: "+") + " ms, "
        + "\(Self.milliseconds(heap_thread_cpu() - times.cpu)) ms cpu, "
        + "\(Self.mebibytes(times.allocatedAtStart))->\(Self.mebibytes(times.allocatedAtEnd))"
        + "->\(Self.mebibytes(live)) MiB, "
        + "goal \(goal == .max ? "off" : "\(Self.mebibytes(goal)) MiB"), \(percent), "
        + "\(workers) worker\(workers == 1 ? "" : "s"), max handshake \(pause) us"
    }
    heap.report(line)
  }

  private static func milliseconds(_ nanoseconds: UInt64) -> String {
    decimal(nanoseconds / 10_000, digits: 2)
  }

  /// A number of thousandths (3 digits) or hundredths (2) with its point.
  private static func decimal(_ number: UInt64, digits: Int) -> String {
    let text = String(number)
    let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
    return padded.dropLast(digits) + "." + padded.suffix(digits)
  }

  private static func mebibytes(_ bytes: Int) -> Int { (bytes + (1 << 19)) >> 20 }
}
