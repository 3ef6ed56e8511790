// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Generations: as of which cycle a span's bits are true.
//
// A heap counts its cycles, and apart from that its full cycles. A minor cycle finds out nothing
// about old objects, so it concerns only spans that were allocated from since the cycle before; a
// full cycle concerns all. Hence a span is labelled with both numbers, and they are read like this,
// (c, f) being the heap's generation:
//
//                                          label        what is known
//   clean     untouched since its sweep    (any, f)     swept: slots may be taken
//             …                            (any, f-1)   unswept: the last cycle was a full one
//   touched   allocated from since then    (c, any)     current: slots may be taken
//             …                            (c-1, any)   unswept
//
// There is never a span of three generations, because the heap's generation advances only when
// every span has reached it (Sweeper.finish). A mutator works with a copy of the generation, which
// may be one cycle behind.
//
// Both numbers wrap around; only equality and the parity count.

/// A number for the heap's cycles, and one for its full cycles.
@frozen @usableFromInline package struct Generation: Hashable, Sendable {
  /// Advanced by every cycle.
  @usableFromInline package var cycle: UInt32
  /// Advanced by every full cycle.
  @usableFromInline package var full: UInt32

  @inlinable package init(cycle: UInt32, full: UInt32) {
    self.cycle = cycle
    self.full = full
  }

  /// A heap's first generation. The parts differ, so that they are seldom 0 together, which stands
  /// for no generation.
  @inlinable package static var first: Generation { Generation(cycle: 2, full: 1) }

  /// The generation after a cycle.
  @inlinable package func next(isFull: Bool) -> Generation {
    Generation(cycle: cycle &+ 1, full: isFull ? full &+ 1 : full)
  }

  /// What the labels of unswept spans say: of touched ones, or after a full cycle of clean ones.
  @inlinable package var previous: Generation {
    Generation(cycle: cycle &- 1, full: full &- 1)
  }

  // MARK: - As one word

  @inlinable package var bits: UInt64 { UInt64(cycle) << 32 | UInt64(full) }

  @inlinable package init(bits: UInt64) {
    cycle = UInt32(truncatingIfNeeded: bits >> 32)
    full = UInt32(truncatingIfNeeded: bits)
  }
}
