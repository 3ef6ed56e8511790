// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// One line a cycle on standard error (HEAP_TRACE=1):
//
//     heap: gc 7 @0.412s 3% (forced) full: 0.05+8.10+0.02+0.31 ms, 9.3 ms cpu, 4->5->2 MiB,
//     goal 5 MiB, 100%, 1 worker, max handshake 41 us
//
//   7             the cycle's number
//   @0.412s       seconds since the heap was made
//   3%            of that time in which a collection was under way
//   full          all objects were looked at; minor: those allocated since the cycle before
//   0.05+8.10+…   milliseconds: barrier, stacks and roots · marking · hand-over · sweeping
//   cpu           of the collector's thread and its helpers, assists not included
//   4->5->2 MiB   allocated at the start, at the end of marking, and found live
//   handshake     the longest pause of any thread so far
//
// Owner: the collector's thread.

internal import CHeapShims
internal import Heap
internal import Synchronization

/// The times of the cycle under way, and the line about it.
@safe final class CycleTrace: @unchecked Sendable {
  // Sendable: the collector's thread alone uses the times.

  /// Moments of a cycle.
  enum Moment: Int { case start, marking, terminated, sweeping }

  private let reporter: Reporter
  private let words: UnsafeMutablePointer<HeapWords>
  private let counters: HeapCounters
  private let workers: Int
  private let startTime = heap_now()

  private var times = InlineArray<4, UInt64>(repeating: 0)
  private var cpuAtStart = 0
  private var allocatedAtStart = 0
  private var allocatedAtEnd = 0
  private var goalAtStart = 0
  private var busy: UInt64 = 0
  /// The percentage in force.
  private let percent: @Sendable () -> Int?

  init(
    reporter: Reporter, words: UnsafeMutablePointer<HeapWords>, counters: HeapCounters,
    workers: Int, percent: @escaping @Sendable () -> Int?
  ) {
    self.reporter = reporter
    unsafe self.words = words
    self.counters = counters
    self.workers = workers
    self.percent = percent
  }

  /// Processor time of the collector's thread and its helpers, in nanoseconds.
  private var cpu: Int {
    counters.markNanoseconds.load(ordering: .relaxed)
      + counters.sweepNanoseconds.load(ordering: .relaxed)
  }

  func begin() {
    note(.start)
    cpuAtStart = cpu
    allocatedAtStart = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    goalAtStart = unsafe words.pointee.goal.load(ordering: .relaxed)
  }

  func note(_ moment: Moment) {
    times[moment.rawValue] = heap_now()
    if moment == .terminated {
      allocatedAtEnd = unsafe words.pointee.allocatedBytes.load(ordering: .relaxed)
    }
  }

  /// Writes the line.
  func end(_ kind: CycleKind, forced: Bool) {
    let now = heap_now()
    busy += now - times[0]
    let age = max(now - startTime, 1)
    let phases = [times[1] - times[0], times[2] - times[1], times[3] - times[2], now - times[3]]
    let percent = percent().map { "\($0)%" } ?? "off"
    let goal = goalAtStart == .max ? "off" : "\(Self.mebibytes(goalAtStart)) MiB"
    let live = counters.liveBytes.load(ordering: .relaxed)
    let number = counters.cycles.load(ordering: .relaxed)
    reporter.report(
      "gc \(number) @\(Self.decimal(age / 1_000_000, digits: 3))s "
        + "\(busy * 100 / age)%\(forced ? " (forced)" : "") \(kind): "
        + phases.map(Self.milliseconds).joined(separator: "+") + " ms, "
        + "\(Self.milliseconds(UInt64(max(cpu - cpuAtStart, 0)))) ms cpu, "
        + "\(Self.mebibytes(allocatedAtStart))->\(Self.mebibytes(allocatedAtEnd))"
        + "->\(Self.mebibytes(live)) MiB, goal \(goal), \(percent), "
        + "\(workers) worker\(workers == 1 ? "" : "s"), "
        + "max handshake \(counters.pauses.longest / 1000) us")
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
