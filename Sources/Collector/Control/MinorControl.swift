// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Whether minor cycles pay.
//
// A minor cycle pays when it frees a byte for less processor time than a full cycle does. That is
// so where most young objects die soon. It is not so where objects die old, as in a cache that is
// always full, or where old objects are written everywhere: such a program is better off with full
// cycles only. So both prices are measured, cycle by cycle. After a few minor cycles in a row that
// were too dear, a number of full cycles follows; then minor ones are tried again. The number
// doubles each time that the trial fails, up to a bound, so a program that gains nothing pays for a
// trial now and then, and one that changes its ways is noticed.
//
// Prices tell nothing while a heap grows: neither kind frees much then. But the young that live are
// marked twice, by a minor cycle and by the next full one. So after a cycle of either kind that has
// freed little, the next one is full: a heap that grows is marked each time that it has doubled.
//
// A pure value: prices in, decision out.

/// Decides whether minor cycles are made.
package struct MinorControl: Sendable {
  /// Nanoseconds for each byte that the last full cycle freed.
  private var fullPrice = Double.infinity
  /// Minor cycles in a row that cost more.
  private var losses = 0
  /// Full cycles to come before the next trial.
  private var suspended = 0
  /// What `suspended` will be set to next.
  private var patience = Self.shortest

  /// Minor cycles in a row that must be too dear. One may be, a little: a program has phases.
  private static var tolerated: Int { 2 }
  /// How many times dearer than a full cycle a minor one is that counts as two.
  private static var farTooDear: Double { 4 }
  /// Full cycles without a trial, the first time and at the most. Fewer cost a program that gains
  /// nothing more trials, more leave one that has changed its ways unnoticed for longer.
  private static var shortest: Int { 8 }
  private static var longest: Int { 64 }

  package init() {}

  package var isWorthwhile: Bool { suspended == 0 }

  /// A cycle has freed so many bytes in so many nanoseconds of processor time.
  ///
  /// - Parameters:
  ///   - old: bytes that the cycle before has found alive.
  ///   - young: bytes that were allocated between the cycle before and this one.
  package mutating func cycleEnded(
    _ kind: CycleKind, old: Int, young: Int, freed: Int, time: Int
  ) {
    let price = Double(max(time, 0)) / Double(max(freed, 1))
    let hasFreedLittle = freed < young / 4
    switch kind {
    case .full:
      if old >= Pacing.leastOld { fullPrice = price }
      suspended = max(suspended - 1, hasFreedLittle ? 1 : 0)
    case .minor:
      if hasFreedLittle { suspended = 1 }
      if price > fullPrice {
        losses += price > fullPrice * Self.farTooDear ? Self.tolerated : 1
        guard losses >= Self.tolerated else { return }
        (losses, suspended) = (0, patience)
        patience = min(patience * 2, Self.longest)
      } else if !hasFreedLittle {
        (losses, patience) = (0, Self.shortest)
      }
    }
  }
}
