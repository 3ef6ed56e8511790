// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Random numbers that a seed determines: Sebastiano Vigna's SplitMix64.
//
// A random test prints its seed, and HEAP_TEST_SEED repeats a run.

import Glibc

/// A random test's numbers.
package struct RandomNumbers: RandomNumberGenerator, Sendable {
  package let seed: UInt64
  private var state: UInt64

  /// Numbers from HEAP_TEST_SEED, or from a new seed; prints which, under the test's name.
  package init(_ name: String) {
    self.init(
      seed: unsafe getenv("HEAP_TEST_SEED").flatMap { unsafe UInt64(String(cString: $0)) }
        ?? .random(in: 0 ... .max))
    print("\(name): HEAP_TEST_SEED=\(seed)")
  }

  package init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    return Self.mix(state)
  }

  /// A number from 0 up to `bound`.
  package mutating func below(_ bound: Int) -> Int {
    Int(truncatingIfNeeded: ((next() >> 32) &* UInt64(truncatingIfNeeded: bound)) >> 32)
  }

  /// True once in so many times.
  package mutating func oneIn(_ times: Int) -> Bool { below(times) == 0 }

  /// A number whose every bit depends on every bit of `number`.
  package static func mix(_ number: UInt64) -> UInt64 {
    var mixed = number
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
