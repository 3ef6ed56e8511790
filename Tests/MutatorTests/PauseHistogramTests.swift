// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

import Mutator
import Testing

@Suite struct PauseHistogramTests {
  func histogram(_ pauses: [UInt64]) -> PauseHistogram {
    var buckets = [UInt64](repeating: 0, count: PauseHistogram.bucketCount)
    for pause in pauses { buckets[PauseHistogram.bucket(ofNanoseconds: pause)] += 1 }
    return PauseHistogram(
      buckets: buckets, totalNanoseconds: pauses.reduce(0, +), maxNanoseconds: pauses.max() ?? 0)
  }

  @Test("a percentile is never too short and at most an eighth too long")
  func percentiles() {
    let seed = UInt64.random(in: 0 ... .max)
    print("seed \(seed)")
    var random = SplitMix(state: seed)
    for _ in 0..<50 {
      let count = Int.random(in: 1...500, using: &random)
      // Sizes of every magnitude, evenly by exponent.
      let pauses = (0..<count).map { _ in
        UInt64.random(in: 0...(1 << UInt64.random(in: 0...40, using: &random)), using: &random)
      }.sorted()
      let histogram = histogram(pauses)
      #expect(histogram.count == count)
      #expect(histogram.total == .nanoseconds(Int64(pauses.reduce(0, +))))
      for percent in [0, 1, 25, 50, 90, 99, 99.9, 100] {
        let rank = max(1, Int((percent / 100 * Double(count)).rounded(.up)))
        let exact = pauses[rank - 1]
        let answer = histogram.percentile(percent)
        #expect(answer >= .nanoseconds(Int64(exact)))
        #expect(answer <= .nanoseconds(Int64(exact + exact / 8)))
      }
      #expect(histogram.percentile(100) == .nanoseconds(Int64(pauses.last!)))
      #expect(histogram.max == .nanoseconds(Int64(pauses.last!)))
    }
  }

  @Test("buckets follow each other without gaps, and each is at most an eighth wide")
  func buckets() {
    var expected: UInt64 = 0
    for bucket in 0..<PauseHistogram.bucketCount {
      let upper = PauseHistogram.upperBound(ofBucket: bucket)
      #expect(PauseHistogram.bucket(ofNanoseconds: expected) == bucket)
      #expect(PauseHistogram.bucket(ofNanoseconds: upper) == bucket)
      #expect((upper - expected) * 8 <= expected)
      expected = upper + 1
    }
    #expect(expected == 1 << 63)
    #expect(PauseHistogram.bucket(ofNanoseconds: .max) == PauseHistogram.bucketCount - 1)
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
    #expect(histogram.percentile(-5) == histogram.percentile(0))
    #expect(histogram.percentile(500) == histogram.max)
    #expect(histogram.percentile(.nan) == histogram.percentile(0))
    #expect(histogram.description.hasPrefix("3 pauses"))
  }
}

/// Sebastiano Vigna's SplitMix64: a generator that starts from a printed seed.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
  }
}
