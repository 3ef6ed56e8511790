// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The making of huge pages (PageHeap+HugePages.swift): when, and how much of it.
//
// The collector's thread calls `next` while no cycle is wanted and the heap does not end. Each call
// takes one range, so a cycle or the end waits for one range at most.
//
//   Preparing   comes first, and needs no bound: the program would pay for each first touch itself,
//               and more, and ranges are prepared as allocation uses them up.
//   Collapsing  is work that nobody had to do. It is done after a cycle, which has found what lives,
//               and then only in a part of the time: half of a processor at most. Each range is
//               collapsed once, so that comes to an end. Memory that is given back and used again may
//               be collapsed again; when more ranges have been collapsed than the heap has, it is
//               done in a thirty-second of the time.
//   Refusals    The system has no huge page, or somebody holds a page of the range. That is tried
//               again after a cycle, after every second one, every fourth…
//
// Owner       the collector's thread, of everything here.

internal import CHeapShims
package import Heap

/// The making of huge pages between cycles.
@safe package final class HugePageWork: @unchecked Sendable {
  // Sendable: the collector's thread alone uses the fields.

  private let pageHeap: PageHeap
  /// A cycle has been made, and not everything been looked at since.
  private var mayCollapse = false
  /// No range is collapsed before this time, in nanoseconds.
  private var nextTime: UInt64 = 0
  /// Refusals in a row.
  private var refusals = 0
  /// Cycles after which nothing is collapsed.
  private var cyclesToSkip = 0

  package init(_ pageHeap: PageHeap) { self.pageHeap = pageHeap }

  /// Time between two ranges, as a multiple of the time that one has taken. More makes a heap wait
  /// longer for its huge pages, less takes more from a program that has all processors busy.
  private static var pause: UInt64 { 1 }
  /// The same for ranges that are collapsed again.
  private static var pauseIfRepeated: UInt64 { 31 }

  /// A cycle has been swept: what is in use now will be for some time.
  package func cycleEnded() {
    guard cyclesToSkip == 0 else {
      cyclesToSkip -= 1
      return
    }
    mayCollapse = true
    pageHeap.lookAgain()
  }

  /// Makes one huge page, if there is one to be made. Nanoseconds until the next call; nil: not
  /// before a cycle has ended, or allocation asks.
  package func next() -> Int? {
    if pageHeap.prepareHugePage() { return 0 }
    guard mayCollapse else { return nil }
    let now = heap_now()
    guard now >= nextTime else { return Int(nextTime - now) }
    let start = heap_thread_cpu()
    switch pageHeap.collapseHugePage() {
    case .nothing:
      mayCollapse = false
      return nil
    case .done(let isRepeated):
      refusals = 0
      let time = heap_thread_cpu() - start
      let pause = time * (isRepeated ? Self.pauseIfRepeated : Self.pause)
      nextTime = heap_now() + pause
      return Int(pause)
    case .refused:
      cyclesToSkip = 1 << min(refusals, 10) - 1
      refusals += 1
      mayCollapse = false
      return nil
    }
  }
}
