// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The modes in which a test of what programs do is run: plain, and in each kind of bad luck.

import Mutator

/// How a test's heap is made to fail.
enum StressMode: String, Codable, CaseIterable {
  case plain
  /// Every allocation is a full collection, or one of them and two minor ones.
  case everyAllocation, everyAllocationMinor
  /// Minor collections whether they pay or not, in a small heap.
  case minor
  /// Barrier buffers of two entries.
  case smallBuffers
  case checked, checkedEveryAllocation

  func apply(_ configuration: inout HeapConfiguration) {
    configuration.stress = .none
    configuration.checks = .off
    configuration.minimumHeap = 128 << 10
    switch self {
    case .plain: break
    case .everyAllocation: configuration.stress.collectEvery = 1
    case .everyAllocationMinor:
      configuration.stress.collectEvery = 1
      configuration.stress.minorCycles = 2
    case .minor: configuration.stress.minorCycles = 5
    case .smallBuffers: configuration.stress.barrierBuffer = 2
    case .checked: configuration.checks = .on
    case .checkedEveryAllocation:
      configuration.checks = .on
      configuration.stress.collectEvery = 1
      configuration.stress.barrierBuffer = 4
    }
  }

  /// Makes each allocation so slow that a test does fewer.
  var isSlow: Bool {
    switch self {
    case .plain, .minor, .smallBuffers: false
    case .everyAllocation, .everyAllocationMinor, .checked, .checkedEveryAllocation: true
    }
  }

  /// A heap in this mode.
  func heap(_ change: (inout HeapConfiguration) -> Void = { _ in }) throws -> ManagedHeap {
    try HeapCheck.heap {
      apply(&$0)
      change(&$0)
    }
  }
}
