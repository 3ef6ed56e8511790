// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// How long threads were held up.
//
// The collector counts pauses in buckets whose width grows with the length of the pause: eight to
// each power of two nanoseconds (Collector/Control, PauseBuckets). So a bucket is at most an eighth
// as wide as its lower end. A histogram is a copy of the counts. The sum and the longest pause are
// kept exactly beside them.

internal import Collector

/// The distribution of pause times; a pause is one thread's own handshake.
public struct PauseHistogram: Hashable, Sendable {
  private let buckets: [Int]

  /// The number of pauses.
  public let count: Int

  /// The sum of all pauses.
  public let total: Duration

  /// The longest pause.
  public let max: Duration

  /// A histogram of no pauses.
  package init() { self.init(buckets: [], totalNanoseconds: 0, maxNanoseconds: 0) }

  /// A histogram of recorded pauses.
  ///
  /// - Parameter buckets: pauses by `PauseBuckets.index(of:)`; missing ones at the end are empty.
  package init(buckets: [Int], totalNanoseconds: Int, maxNanoseconds: Int) {
    self.buckets = buckets
    count = buckets.reduce(0, &+)
    total = .nanoseconds(totalNanoseconds)
    max = .nanoseconds(maxNanoseconds)
  }

  /// The longest pause that a bucket counts.
  private static func longest(in bucket: Int) -> Duration {
    let last = PauseBuckets.index(of: .max)
    return .nanoseconds(bucket < last ? PauseBuckets.lowerBound(of: bucket + 1) - 1 : .max)
  }

  /// The duration that `percent` of all pauses do not exceed; zero if there were none.
  ///
  /// The answer is at most 12.5 % too long and never too short; at 100 it is `max`.
  ///
  /// - Parameter percent: from 0 to 100; values outside are taken for the nearer of the two.
  /// - Complexity: O(1), a few hundred additions.
  public func percentile(_ percent: Double) -> Duration {
    guard count > 0 else { return .zero }
    // The nearest rank; not-a-number counts as 0.
    let share = Swift.max(0, Swift.min(percent, 100)) / 100
    let rank = Swift.max(1, Int((share * Double(count)).rounded(.up)))
    var seen = 0
    for (bucket, pauses) in buckets.enumerated() {
      seen += pauses
      if seen >= rank && rank < count {
        return Swift.min(Self.longest(in: bucket), max)
      }
    }
    return max
  }
}

extension PauseHistogram: CustomStringConvertible {
  /// Count, median, 99th percentile and maximum in one line.
  public var description: String {
    "\(count) pauses, median \(percentile(50)), p99 \(percentile(99)), max \(max)"
  }
}
