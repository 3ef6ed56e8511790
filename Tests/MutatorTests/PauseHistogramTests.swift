// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

import Collector
import Mutator
import TestSupport
import Testing

@Suite struct PauseHistogramTests {
  func histogram(_ pauses: [Int]) -> PauseHistogram {
    var buckets = [Int](repeating: 0, count: PauseBuckets.count)
    for pause in pauses { buckets[PauseBuckets.index(of: pause)] += 1 }
    return PauseHistogram(
      buckets: buckets, totalNanoseconds: pauses.reduce(0, +), maxNanoseconds: pauses.max() ?? 0)
  }

  @Test("a percentile is never too short and at most an eighth too long")
  func percentiles() {
    var random = RandomNumbers("percentiles")
    for _ in 0..<50 {
      let count = Int.random(in: 1...500, using: &random)
      // Sizes of every magnitude, evenly by exponent.
      let pauses = (0..<count).map { _ in
        Int.random(in: 0...(1 << Int.random(in: 0...40, using: &random)), using: &random)
      }.sorted()
      let histogram = histogram(pauses)
      #expect(histogram.count == count)
      #expect(histogram.total == .nanoseconds(pauses.reduce(0, +)))
      for percent in [0, 1, 25, 50, 90, 99, 99.9, 100] {
        let rank = max(1, Int((percent / 100 * Double(count)).rounded(.up)))
        let exact = pauses[rank - 1]
        let answer = histogram.percentile(percent)
        #expect(answer >= .nanoseconds(exact))
        #expect(answer <= .nanoseconds(exact + exact / 8))
      }
      #expect(histogram.percentile(100) == .nanoseconds(pauses.last!))
      #expect(histogram.max == .nanoseconds(pauses.last!))
    }
  }

  @Test("the longest and the shortest pauses that can be recorded have percentiles")
  func extremes() {
    #expect(histogram([0]).percentile(50) == .zero)
    #expect(histogram([.max]).percentile(50) == .nanoseconds(Int.max))
    #expect(histogram([0, .max / 2]).percentile(0) == .zero)
    #expect(histogram([.max / 2, .max / 2 + 1]).percentile(50) >= .nanoseconds(Int.max / 2))
  }

  @Test("a histogram of no pauses answers zero")
  func empty() {
    #expect(PauseHistogram().count == 0)
    #expect(PauseHistogram().percentile(99) == .zero)
    #expect(PauseHistogram().max == .zero)
  }

  @Test("percentages outside of 0 to 100 are taken for the nearer end")
  func clamped() {
    let histogram = histogram([100, 200, 300])
    // At most an eighth above the shortest, and never the next one.
    #expect(histogram.percentile(-5) >= .nanoseconds(100))
    #expect(histogram.percentile(-5) < .nanoseconds(113))
    #expect(histogram.percentile(.nan) == histogram.percentile(-5))
    #expect(histogram.percentile(500) == .nanoseconds(300))
    #expect(histogram.description.hasPrefix("3 pauses"))
  }
}
