// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Making rare interleavings common.
//
// For tests of programs and of the heap itself: a collection at every nth allocation, barrier
// buffers that are always full, handshakes that take their time. A run is repeatable as far as
// threads are, because what is random follows from the seed. Off by default, and off costs
// nothing.

/// Deliberate bad luck, for tests.
public struct StressOptions: Hashable, Sendable {
  /// Makes every so many allocations of a thread a complete collection, before the allocation
  /// returns; 0: none.
  ///
  /// With 1 and checked mode, a reference that was kept where the collector does not look is found
  /// when it is stored, or when something is stored through it, if anything was allocated since it
  /// was last kept alive. Reading through it is not checked. `Documentation/Roots.md` says exactly what
  /// is found.
  ///
  /// A collection costs a tenth of a millisecond and more, and in checked mode a third of a
  /// microsecond for each live object: with 1, keep the inputs small, or use 100.
  public var collectEvery: Int

  /// Makes so many minor collections between each two full ones, whether they pay or not; 0: as the
  /// heap sees fit. Collections that `collectEvery` makes are counted in. In checked
  /// mode a full one comes earlier when much freed memory is held out of use.
  ///
  /// Without `collectEvery`, use a small number like 7 in a program whose live objects change: with
  /// 1000, old objects that have died fill the heap up to its goal, and one collection follows the
  /// other.
  public var minorCycles: Int

  /// Entries of a thread's barrier buffer, so that it is flushed often, at most 1,048,576; 0: the
  /// default size.
  public var barrierBuffer: Int

  /// Microseconds to wait, at most, at every step of a handshake, at most 1,000,000; 0: not at
  /// all.
  public var handshakeDelay: Int

  /// Where random choices start from.
  public var seed: UInt64

  /// More entries of a barrier buffer than these are taken for a mistake: each thread has one.
  static let largestBuffer = 1 << 20

  /// A longer delay than this, in microseconds, is taken for a mistake: no cycle would end.
  static let longestDelay = 1_000_000

  /// Options; all off unless given.
  public init(
    collectEvery: Int = 0, minorCycles: Int = 0, barrierBuffer: Int = 0, handshakeDelay: Int = 0,
    seed: UInt64 = 0
  ) {
    self.collectEvery = collectEvery
    self.minorCycles = minorCycles
    self.barrierBuffer = barrierBuffer
    self.handshakeDelay = handshakeDelay
    self.seed = seed
  }

  /// No stress.
  public static let none = StressOptions()

  /// Whether nothing is stressed.
  public var isNone: Bool {
    collectEvery == 0 && minorCycles == 0 && barrierBuffer == 0 && handshakeDelay == 0
  }
}

extension StressOptions: LosslessStringConvertible {
  /// What `init(_:)` accepts.
  static var accepted: String {
    "a list of collect=ALLOCATIONS, minor=CYCLES, buffer=ENTRIES (at most \(largestBuffer)), "
      + "delay=MICROSECONDS (at most \(longestDelay)) and seed=NUMBER, each at most once, "
      + "separated by commas"
  }

  /// Parses `collect=1000,minor=3,buffer=4,delay=50,seed=7`, any part of it, in any order, each
  /// option at most once.
  public init?(_ description: String) {
    self.init()
    var seen: Set<Substring> = []
    for part in description.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2, seen.insert(sides[0]).inserted, let number = UInt64(sides[1]) else {
        return nil
      }
      if sides[0] == "seed" {
        seed = number
        continue
      }
      guard let number = Int(exactly: number) else { return nil }
      switch sides[0] {
      case "collect": collectEvery = number
      case "minor": minorCycles = number
      case "buffer" where number <= Self.largestBuffer: barrierBuffer = number
      case "delay" where number <= Self.longestDelay: handshakeDelay = number
      default: return nil
      }
    }
  }

  /// What `init(_:)` reads.
  public var description: String {
    "collect=\(collectEvery),minor=\(minorCycles),buffer=\(barrierBuffer),delay=\(handshakeDelay),seed=\(seed)"
  }
}
