// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// When a cycle starts, and what an allocation owes while it runs.
//
//   goal     live + (live + roots + stacks) × percent / 100, never under
//            minimumHeap × percent / 100 (the formula of Go's GOGC, since Go 1.18); a memory
//            limit lowers it
//   trigger  the goal less twice what was allocated while the last full cycle marked: between half
//            and seven eighths of the way from live to the goal
//   assist   bytes to mark for each byte allocated after the trigger, so that marking is done
//            half-way to the goal, even if workers do nothing
//   grain    bytes that a thread allocates between two assists: so few that an assist takes some
//            microseconds, whatever the ratio
//
// With generations, most cycles are minor ones: they start when the young objects fill the nursery,
// and leave alone what is old. A full cycle is due when what lives, as far as minor cycles can
// tell, comes near the goal that the last full cycle set. So the percentage bounds the heap as it
// does without.
//
//   nursery  half of live, or what fits into a processor's cache; two thirds of the way to the goal
//            at the most
//
// Where hardly anything is old, a full cycle takes no longer than a minor one, and finds out more.
//
// What lives comes near the goal only if young objects survive. If they all die, old ones may die
// as well, and no minor cycle can tell. So a full cycle is also due when 16 times the way from live
// to goal has been allocated since the last one. Without generations a heap is marked whole about
// once on that way. So this rule costs about a sixteenth of that marking at the most, and old
// garbage stays for 18 such ways at the most. A program that holds too much for too long sets a
// lower percentage, or collects.
//
// A pure value: figures in, decisions out. All arithmetic saturates: a percentage of Int.max
// or a limit of zero traps nowhere. The pacer (Pacer.swift) keeps the rules and the figures of a
// heap, and puts the decisions into force.

/// The rules by which a heap is paced.
package struct Pacing: Sendable {
  /// nil: never collect of its own accord.
  package var percent: Int?
  /// Soft limit on what the heap takes from the system, in bytes.
  package var memoryLimit: Int?
  /// The heap is not collected below this (times percent / 100), in bytes.
  package var minimumHeap: Int

  /// Minor cycles may be made.
  package var hasGenerations: Bool

  package init(
    percent: Int?, memoryLimit: Int?, minimumHeap: Int, hasGenerations: Bool = false
  ) {
    self.hasGenerations = hasGenerations
    self.percent = percent
    self.memoryLimit = memoryLimit
    self.minimumHeap = minimumHeap
  }

  /// What the last cycle found, in bytes.
  package struct Figures: Equatable, Sendable {
    package var live: Int
    /// What the last full cycle found live; what minor cycles find comes on top.
    package var liveAfterFull: Int
    /// What was allocated while the last full cycle marked; nil: not known.
    package var black: Int?
    /// What was allocated after the last full cycle and before the end of the last minor one.
    package var sinceFull: Int
    /// Root slots and stacks scanned.
    package var roots: Int
    /// What the heap has from the system besides objects.
    package var overhead: Int

    package init(
      live: Int, liveAfterFull: Int? = nil, black: Int? = nil, sinceFull: Int = 0, roots: Int = 0,
      overhead: Int = 0
    ) {
      self.live = live
      self.sinceFull = sinceFull
      self.black = black
      self.liveAfterFull = liveAfterFull ?? live
      self.roots = roots
      self.overhead = overhead
    }
  }

  package struct Decision: Equatable, Sendable {
    /// What the next cycle is to be.
    package var kind = CycleKind.full
    /// Bytes allocated at which marking should have ended; Int.max: never.
    package var goal: Int
    /// The same of the next full cycle.
    package var fullGoal: Int
    /// Bytes allocated at which a cycle starts; Int.max: never.
    package var trigger: Int
    /// Bytes to mark for each byte allocated while marking, in 1/1024.
    package var assistRatio: Int
    /// Bytes that a thread allocates while marking before it assists.
    package var assistGrain: Int {
      // A minor cycle owes little and is soon over.
      guard kind == .full else { return Pacing.largestGrain }
      let grain = Pacing.assistWork.scaled(by: 1024, over: max(assistRatio, 1))
      return min(max(grain, Pacing.smallestGrain), Pacing.largestGrain)
    }
  }

  /// Bytes that an assist marks in a full cycle: it takes five to ten microseconds. More makes single
  /// allocations slower, less makes the fixed cost of an assist count.
  private static var assistWork: Int { 8 << 10 }
  /// Bounds of the grain. A thread gets no longer run of slots while the collector marks, so less
  /// costs more changes of runs.
  private static var smallestGrain: Int { 512 }
  private static var largestGrain: Int { 32 << 10 }

  /// An allocation owes this many times its size at the most: a goal that is already passed
  /// shall not stop the program.
  private static var largestRatio: Int { 16 << 10 }

  package func decide(_ figures: Figures) -> Decision {
    let goal = goal(figures)
    guard goal < .max else {
      return Decision(goal: .max, fullGoal: .max, trigger: .max, assistRatio: 0)
    }
    let live = max(figures.live, 0)
    let room = max(goal - live, 0)
    let way = max(goal - max(figures.liveAfterFull, 0), 0)
    let isFullDue = figures.sinceFull >= way.scaled(by: Self.waysToFull, over: 1)
    if hasGenerations, !isFullDue, let decision = decideMinor(live: live, goal: goal) {
      return decision
    }
    let wanted = figures.black.map { max($0, 0).scaled(by: 2, over: 1) } ?? .max
    let reserve = min(max(wanted, room / 8), room / 2)
    let trigger = live.saturatingAdd(room - reserve)
    // Half of the way that is left: the goal counts objects, and the spans that hold them are
    // not all full. Less of it means more assists and a smaller peak.
    let runway = max((goal - trigger) / 2, 1)
    let ratio = min(Double(live) * 1024 / Double(runway), Double(Self.largestRatio))
    return Decision(goal: goal, fullGoal: goal, trigger: trigger, assistRatio: Int(ratio))
  }

  /// Bytes of young objects that a minor cycle is worth while for: what fits into the caches near a
  /// processor. Fewer make the fixed cost of a cycle count.
  private static var smallestNursery: Int { 4 << 20 }

  /// Bytes of old objects that a minor cycle is worth while for: they are marked in the time that a
  /// cycle takes at least.
  static var leastOld: Int { 64 << 10 }

  /// How often the way from live to goal may be allocated between two full cycles. More leaves old
  /// garbage for longer, less marks more. With 8 the benchmark `threads 2 16 10 10000` took 10 % more
  /// processor time than without a bound, and with 16 it took 1 % more (least of 15 runs each, two
  /// processors, November 2026).
  private static var waysToFull: Int { 16 }

  /// A minor cycle, unless hardly anything is old or hardly any room is left to the goal.
  private func decideMinor(live: Int, goal: Int) -> Decision? {
    let room = max(goal - live, 0)
    let wanted = max(live / 2, Self.smallestNursery)
    // The last third is for what is allocated while the cycle marks.
    let nursery = min(wanted, room / 3 * 2)
    guard live >= Self.leastOld, nursery >= wanted / 4 else { return nil }
    let trigger = live.saturatingAdd(nursery)
    return Decision(
      kind: .minor, goal: trigger.saturatingAdd(nursery / 2), fullGoal: goal, trigger: trigger,
      assistRatio: Self.minorRatio)
  }

  /// What an allocation owes while a minor cycle marks, in 1/1024 of its size: as if all young
  /// objects lived, and the marking had to be done when half of the nursery is used up again.
  private static var minorRatio: Int { 2 << 10 }

  private func goal(_ figures: Figures) -> Int {
    var goal = Int.max
    if let percent {
      let live = max(figures.liveAfterFull, 0)
      let base = live.saturatingAdd(max(figures.roots, 0))
      goal = live.saturatingAdd(base.scaled(by: percent, over: 100))
      goal = max(goal, minimumHeap.scaled(by: percent, over: 100))
    }
    if let memoryLimit {
      // At least what is live: a limit that cannot be kept is not kept.
      let allowed = max(memoryLimit.saturatingAdd(-max(figures.overhead, 0)), 0)
      goal = min(goal, max(allowed, figures.live))
    }
    return goal
  }
}

extension Int {
  /// The sum, or the nearest bound.
  package func saturatingAdd(_ other: Int) -> Int {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? (other < 0 ? .min : .max) : sum
  }

  /// self × factor / divisor in full width, or Int.max. For numbers that are not negative.
  package func scaled(by factor: Int, over divisor: Int) -> Int {
    let product = magnitude.multipliedFullWidth(by: factor.magnitude)
    guard product.high < divisor.magnitude else { return .max }
    let (quotient, _) = divisor.magnitude.dividingFullWidth(product)
    return Int(clamping: quotient)
  }
}
