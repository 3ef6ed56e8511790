// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// How long threads were held up.
//
// Durations are counted in buckets whose width grows with the duration: eight to each power
// of two nanoseconds. So a bucket is at most an eighth as wide as its lower end, at every scale
// from 8 ns on, and below that a bucket is one nanosecond:
//
//     nanoseconds      bucket
//     0 … 7            the number itself
//     2^e + k·2^(e-3)  8·(e-2) + k      for e ≥ 3, k = 0 … 7
//
// 488 buckets reach to 2^63 ns, 292 years. Whoever records keeps the counts and makes a
// histogram from a copy of them; the sum and the longest are kept exactly beside.

/// The distribution of pause times; a pause is one thread's own handshake.
public struct PauseHistogram: Hashable, Sendable {
  private let buckets: [UInt64]

  /// The number of pauses.
  public let count: Int

  /// The sum of all pauses.
  public let total: Duration

  /// The longest pause.
  public let max: Duration

  /// The number of buckets that a recorder needs.
  package static let bucketCount = 488

  /// The bucket that counts a pause of the given length.
  package static func bucket(ofNanoseconds nanoseconds: UInt64) -> Int {
    guard nanoseconds >= 8 else { return Int(nanoseconds) }
    let exponent = Swift.min(63 - nanoseconds.leadingZeroBitCount, 62)
    let eighth = nanoseconds >> 63 != 0 ? 7 : Int(nanoseconds >> (exponent - 3)) & 7
    return 8 * (exponent - 2) + eighth
  }

  /// The longest pause that a bucket counts, in nanoseconds.
  package static func upperBound(ofBucket bucket: Int) -> UInt64 {
    guard bucket >= 8 else { return UInt64(bucket) }
    let exponent = bucket / 8 + 2
    return (UInt64(8 + bucket % 8 + 1) << (exponent - 3)) - 1
  }

  /// A histogram of no pauses.
  package init() { self.init(buckets: [], totalNanoseconds: 0, maxNanoseconds: 0) }

  /// A histogram of recorded pauses.
  ///
  /// - Parameter buckets: pauses by `bucket(ofNanoseconds:)`; missing ones at the end are empty.
  package init(buckets: [UInt64], totalNanoseconds: UInt64, maxNanoseconds: UInt64) {
    self.buckets = buckets
    count = Int(clamping: buckets.reduce(0, &+))
    total = .nanoseconds(Int64(clamping: totalNanoseconds))
    max = .nanoseconds(Int64(clamping: maxNanoseconds))
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
    let rank = Swift.max(1, UInt64((share * Double(count)).rounded(.up)))
    var seen: UInt64 = 0
    for (bucket, pauses) in buckets.enumerated() {
      seen += pauses
      if seen >= rank {
        return Swift.min(.nanoseconds(Int64(clamping: Self.upperBound(ofBucket: bucket))), max)
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
