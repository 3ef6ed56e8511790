// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The one number of the heap.
//
// After a collection that found L live bytes, the next one aims to finish when the heap has
// grown to L + (L + roots + stacks) × percent / 100. A larger number collects less often
// and takes more memory: 100 lets the heap double, 200 triple. Off never collects by itself;
// with a memory limit set, the limit alone then decides when to.

/// How much a heap may grow over its live bytes before it is collected.
public enum GCPercent: Hashable, Sendable {
  /// By this many percent; zero collects all the time.
  case percent(Int)

  /// Without end: only `collect()` and a memory limit start a collection.
  case off
}

extension GCPercent: ExpressibleByIntegerLiteral {
  /// `heap.gcPercent = 200`.
  public init(integerLiteral value: Int) { self = .percent(value) }
}

extension GCPercent: LosslessStringConvertible {
  /// What `init(_:)` accepts.
  static var accepted: String { "a number of percent that is not negative, or off" }

  /// Parses `100` or `off`; nil for everything else, a negative number included.
  public init?(_ description: String) {
    if description == "off" {
      self = .off
    } else if let percent = Int(description), percent >= 0 {
      self = .percent(percent)
    } else {
      return nil
    }
  }

  /// `100`, `off`.
  public var description: String {
    switch self {
    case .percent(let percent): "\(percent)"
    case .off: "off"
    }
  }
}
