// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a heap's collector is told when it is made. Everything here is constant afterwards; what
// a program may change later (the percentage, the soft limit) starts out with these values and
// then belongs to the pacer.

package import Heap

/// The settings of a heap's collector.
package struct CollectorOptions: Sendable {
  /// How the collector is provoked in tests. All nil: not at all.
  package struct Stress: Sendable {
    /// Every nth allocation of a thread is a complete collection.
    package var collectEvery: Int?
    /// So many minor cycles follow each full one, whatever the pacer would choose.
    package var minorCycles: Int?
    /// Entries of a barrier buffer.
    package var barrierBuffer: Int?
    /// Longest delay in each answer to a handshake, in microseconds.
    package var handshakeDelay: Int?
    package var seed: UInt64 = 1

    package init() {}
  }

  package var name = ""
  package var percent: Int? = 100
  package var memoryLimit: Int?
  package var hardLimit: Int?
  package var minimumHeap = 4 << 20
  package var workers = 1
  /// Minor cycles are made where they pay.
  package var generations = true
  package var hugePages = PageHeap.HugePagePolicy.automatic
  package var checks = false
  package var trace = false
  package var stress = Stress()

  package init() {}

  /// Runs have one slot, so that every allocation takes the slow half. There it is counted
  /// (stress) and its initialising store is checked (checked mode).
  var everyAllocationIsSlow: Bool { checks || stress.collectEvery != nil }
}
