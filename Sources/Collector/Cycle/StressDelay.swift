// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Delays of random length, which move the answers to handshakes against each other. For tests:
// rare interleavings become common. The lengths follow from the seed, as far as threads are
// repeatable at all.

internal import CHeapShims
internal import Heap

/// Random delays, up to a longest one; none without stress.
final class StressDelay: Sendable {
  private let longest: UInt64
  private let random: HeapLock<UInt64>

  init(_ stress: CollectorOptions.Stress) {
    let microseconds = UInt64(max(stress.handshakeDelay ?? 0, 0))
    let (nanoseconds, overflow) = microseconds.multipliedReportingOverflow(by: 1000)
    longest = overflow ? .max : nanoseconds
    random = HeapLock(stress.seed, rank: .control)
  }

  /// Spins for a random time.
  func wait() {
    guard longest > 0 else { return }
    let length = random.withLock { state -> UInt64 in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % longest
    }
    let end = heap_now() &+ length
    while heap_now() < end { heap_pause() }
  }
}
