// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The numbers that every workload is made of, and the number that proves it.
//
// A benchmark is worth comparing only when every language does the same work. So there is one
// generator of random numbers and one way to fold results into a checksum, and both are small
// enough to be written the same in any language:
//
//     state    x <- 6364136223846793005 x + 1442695040888963407  (mod 2^64), from 1
//     number   bits 33 to 62 of x, which makes 30 bits
//     below n  (number * n) >> 30
//     fold     sum <- (31 sum + value) mod 2^30
//
// Thirty bits keep every product inside a 63-bit integer, the smallest word of the languages that
// take part. The low bits of a linear congruential generator repeat after a few steps; that is
// why they are thrown away.
//
// A checksum folds values that the algorithm reads back from its objects. A collector that frees
// an object too early, or a store that went astray, changes it.
//
// Both are frozen and inlinable: they are the innermost steps of loops that measure nanoseconds.

/// Thirty bits: the range of random numbers and of checksums.
public let thirtyBits = 0x3fff_ffff

/// The stream of random numbers that all implementations of a workload share.
@frozen
public struct KeyStream: Sendable {
  @usableFromInline var state: UInt64

  /// Starts the stream.
  ///
  /// The workloads all use the default.
  @inlinable
  public init(seed: UInt64 = 1) {
    state = seed
  }

  /// The next number, from 0 to 2³⁰ − 1.
  @inlinable
  public mutating func next() -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(truncatingIfNeeded: state >> 33) & 0x3fff_ffff
  }

  /// The next number, brought into 0..<bound.
  ///
  /// - Parameter bound: at most 2³⁰.
  @inlinable
  public mutating func next(below bound: Int) -> Int {
    (next() &* bound) >> 30
  }
}

/// The value that proves a run: everything the algorithm read back, folded in order.
@frozen
public struct Checksum: Sendable, Equatable {
  /// The value so far: below 2³⁰ once anything was folded in.
  public var value: Int

  /// Starts from a value, which is taken as it is.
  @inlinable
  public init(_ value: Int = 0) {
    self.value = value
  }

  /// Folds one more value in.
  @inlinable
  public mutating func fold(_ more: Int) {
    value = (value &* 31 &+ more) & 0x3fff_ffff
  }
}
