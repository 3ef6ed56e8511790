// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// How a heap is set up.
//
// A plain value with a default for everything. It is checked once, when a heap is made from it,
// and not on assignment. So a configuration can be read from the environment without an error
// to handle, and whoever makes the heap handles it. What can change while a heap lives (the
// percentage, the soft limit) is a property of the heap, too; the rest is settled here.

/// The settings of a heap.
///
/// `HeapConfiguration()` has the defaults, whatever the environment says. A program that sets
/// something itself and still wants `HEAP_TRACE=1` and the others to work begins with
/// ``fromEnvironment()``:
///
/// ```swift
/// var configuration = HeapConfiguration.fromEnvironment()
/// configuration.name = "documents"
/// let heap = try ManagedHeap(configuration)
/// ```
public struct HeapConfiguration: Hashable, Sendable {
  /// What the heap is called in traces and reports.
  ///
  /// Default: "heap".
  public var name = "heap"

  /// How far the heap may grow before it is collected.
  ///
  /// Default: 100.
  public var gcPercent: GCPercent = 100

  /// Bytes that the heap tries not to exceed, by collecting more; nil: none.
  ///
  /// Counts all memory that the heap takes from the system.
  public var memoryLimit: Int?

  /// Bytes of pages that the heap never exceeds; nil: none.
  ///
  /// Where a request does not fit after a full collection, `tryAllocate` throws
  /// ``HeapError/outOfMemory(requested:limit:)``, and `allocate` stops the program. There is no
  /// environment variable for it, and it cannot be changed later.
  public var hardLimit: Int?

  /// Bytes below which the heap is not collected, at 100 percent; scales with the percentage.
  ///
  /// Default: 4 MiB.
  public var minimumHeap = 4 << 20

  /// Threads that mark; nil: a quarter of the cores, at least one.
  public var workers: Int?

  /// Whether collections may leave out what was found alive before.
  public var generations = Generations.automatic

  /// Whether to use the system's huge pages.
  public var hugePages = HugePages.automatic

  /// What is written to standard error while the heap runs.
  public var trace = Trace.off

  /// Whether references, marks and freed memory are verified as the program runs.
  public var checks = Checks.off

  /// Deliberate bad luck, for tests.
  public var stress = StressOptions.none

  /// What was wrong with the environment that the configuration was read from.
  var problem: String?

  /// The default settings.
  public init() {}

  /// Whether to use the system's huge pages.
  public enum HugePages: Hashable, Sendable {
    /// The collector's thread makes them, between collections, but for the first 4 MiB of a heap: a
    /// heap of many MiB that is used in no order takes up to a quarter less time.
    ///
    /// No thread waits until the system has found a huge page. A heap that uses 32 MiB or more has a
    /// few ready for what comes next, a sixteenth of its size and 8 MiB at most. Others are made by
    /// copying what is in use: a thread that touches it just then waits for half a millisecond.
    ///
    /// Needs Linux 6.1 or later, with huge pages of 2 MiB that
    /// `/sys/kernel/mm/transparent_hugepage/enabled` does not set to `never`. Elsewhere it is
    /// ``system``.
    case automatic
    /// As the system is set.
    case system
    /// Ask for them everywhere, when a heap grows: fewer page faults, more memory that is touched and
    /// not used. The first touch of memory takes as long as the system takes to find a huge page:
    /// milliseconds at worst.
    case always
    /// Never: what is given back is given back page by page.
    case never
  }

  /// Whether collections may leave out what was found alive before.
  public enum Generations: Hashable, Sendable {
    /// Most collections are minor ones, which look at objects allocated since the last collection
    /// only, as long as that saves time.
    case automatic
    /// Every collection is a full one.
    case off
  }

  /// What is written to standard error while the heap runs.
  public enum Trace: Hashable, Sendable {
    /// Nothing.
    case off
    /// One line for each collection.
    case cycles
  }

  /// Whether the heap verifies itself and its use.
  public enum Checks: Hashable, Sendable {
    /// Not at all.
    case off
    /// Marks are verified after each cycle, and every reference is checked when it is stored.
    ///
    /// Freed memory is filled with a pattern and held out of use, up to 64 MiB of it, or as much as
    /// is live, and at most half of what ``HeapConfiguration/memoryLimit`` leaves over what is live.
    /// So a reference to an object that has been collected is found when it is stored, and
    /// does not lead to a new object by then. Reading through such a reference is not checked.
    ///
    /// An allocation takes about half a microsecond, and a collection several times as long.
    case on
  }
}

extension HeapConfiguration {
  /// The smallest hard limit, in bytes: room for a span of every kind that a small program uses.
  package static let smallestHardLimit = 1 << 20

  /// More marking threads than this are taken for a mistake.
  package static let mostWorkers = 1024

  /// Checks that a heap can be made with these settings.
  ///
  /// - Throws: `HeapError.invalidConfiguration`, naming the setting, its value and what is
  ///   accepted, or the environment variable that could not be read.
  package func validate() throws(HeapError) {
    if let problem { throw .invalidConfiguration(problem) }
    if case .percent(let percent) = gcPercent {
      try Self.check(percent >= 0, "gcPercent", percent, GCPercent.accepted)
    }
    if let memoryLimit {
      try Self.check(memoryLimit >= 0, "memoryLimit", memoryLimit, "0 bytes or more, or nil")
    }
    if let hardLimit {
      let least = Self.smallestHardLimit
      try Self.check(hardLimit >= least, "hardLimit", hardLimit, "\(least) bytes or more, or nil")
    }
    try Self.check(minimumHeap >= 0, "minimumHeap", minimumHeap, "0 bytes or more")
    if let workers {
      try Self.check(
        (1...Self.mostWorkers).contains(workers), "workers", workers,
        "1 to \(Self.mostWorkers), or nil")
    }
    try Self.check(
      stress.collectEvery >= 0, "stress.collectEvery", stress.collectEvery,
      "0 (none) or more allocations")
    try Self.check(
      stress.minorCycles >= 0, "stress.minorCycles", stress.minorCycles,
      "0 (as the heap sees fit) or more cycles")
    let (buffer, delay) = (StressOptions.largestBuffer, StressOptions.longestDelay)
    try Self.check(
      (0...buffer).contains(stress.barrierBuffer), "stress.barrierBuffer", stress.barrierBuffer,
      "0 (the default) to \(buffer) entries")
    try Self.check(
      (0...delay).contains(stress.handshakeDelay), "stress.handshakeDelay",
      stress.handshakeDelay, "0 (none) to \(delay) microseconds")
  }

  private static func check(
    _ isValid: Bool, _ setting: String, _ value: some CustomStringConvertible, _ accepted: String
  ) throws(HeapError) {
    guard !isValid else { return }
    throw .invalidConfiguration("\(setting) is \(value); accepted: \(accepted)")
  }
}

extension HeapConfiguration: CustomStringConvertible {
  /// The settings, one a line.
  public var description: String {
    let items = [
      ("name", "\"\(name)\""),
      ("gcPercent", "\(gcPercent)"),
      ("memoryLimit", memoryLimit.map(ByteSize.text) ?? "none"),
      ("hardLimit", hardLimit.map(ByteSize.text) ?? "none"),
      ("minimumHeap", ByteSize.text(minimumHeap)),
      ("workers", workers.map { "\($0)" } ?? "a quarter of the cores"),
      ("generations", "\(generations)"),
      ("hugePages", "\(hugePages)"),
      ("trace", "\(trace)"),
      ("checks", "\(checks)"),
      ("stress", stress.isNone ? "none" : "\(stress)"),
    ]
    return Items.text(problem.map { items + [("problem", $0)] } ?? items)
  }
}

/// Items of a value as lines: a name, and what it has.
enum Items {
  static func text(_ items: [(name: String, value: String)]) -> String {
    let width = items.map(\.name.count).max() ?? 0
    return items.map { item in
      item.name + String(repeating: " ", count: width - item.name.count + 2) + item.value
    }.joined(separator: "\n")
  }
}
