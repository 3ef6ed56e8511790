// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// growth: how costs grow with a heap, with its types and with its threads.
//
//     growth SUBJECT AMOUNT ROUNDS
//
//     mark        AMOUNT MiB of live trees. A full collection, ROUNDS times.
//     scattered   the same, and each node refers to a random one besides.
//     minor       AMOUNT MiB of live trees that are old. 16 MiB of young nodes, of which one in 64
//                 is stored into a random old node; then a minor collection. ROUNDS times.
//     allocate    AMOUNT MiB of live trees. ROUNDS times AMOUNT MiB of nodes that die at once,
//                 collected when the heap sees fit.
//     types       AMOUNT types, of objects of the same size. ROUNDS million objects, the types by
//                 turns. One in 16 lives on for a while.
//     threads     AMOUNT threads. Together they build and drop ROUNDS thousand trees, beside one
//                 tree that lives.
//
// The first round of the kind comes before the clock runs, and does not count. Each subject has one
// figure that says what a unit of work costs:
//
//     ns_per_byte     mark, scattered, allocate: of a live byte, and of an allocated one
//     cycle_ms        minor, mark, scattered: the median of the rounds; cycle_min_ms the fastest
//     ns_per_object   types
//     us_per_tree     threads
//
// The cost has not grown if the figure is the same for a large AMOUNT as for a small one. Other
// figures stand beside it: how long threads were held up at handshakes, in the whole run with the
// building (pause_median_us, pause_p99_us), and processor time.

internal import Collector
internal import Mutator
internal import ProgramSupport

/// What a subject found out.
struct Findings: Sendable {
  var checksum = Checksum()
  var wall = 0
  var figures = Figures()

  /// Adds the median and the least of so many times, in milliseconds.
  mutating func addCycles(_ times: [Int]) {
    let sorted = times.sorted()
    figures.add("cycle_ms", Double(sorted[sorted.count / 2]) / 1e6)
    figures.add("cycle_min_ms", Double(sorted[0]) / 1e6)
  }
}

enum Subject: String, CaseIterable {
  case mark, scattered, minor, allocate, types, threads

  func run(_ heap: ManagedHeap, amount: Int, rounds: Int) throws -> Findings {
    switch self {
    case .mark, .scattered:
      heap.withMutator {
        marking(mib: amount, isScattered: self == .scattered, rounds: rounds, in: $0)
      }
    case .minor: heap.withMutator { minors(mib: amount, rounds: rounds, in: $0) }
    case .allocate: heap.withMutator { allocating(mib: amount, rounds: rounds, in: $0) }
    case .types: heap.withMutator { usingTypes(amount, objects: rounds * 1_000_000, in: $0) }
    case .threads: try usingThreads(amount, trees: rounds * 1000, of: heap)
    }
  }

  /// Minor collections are made when the program asks for them, and at no other time.
  func configure(_ configuration: inout HeapConfiguration) {
    guard self == .minor else { return }
    configuration.gcPercent = .off
    configuration.generations = .automatic
    configuration.stress.minorCycles = .max
  }
}

@main
enum Growth {
  static func main() {
    let program = Program(
      "growth", "Measures how costs grow with a heap, its types and its threads.",
      parameters: [
        .choice(
          "SUBJECT", default: "mark", among: Subject.allCases.map(\.rawValue), "what is measured"),
        .integer("AMOUNT", default: 256, in: 1...32767, "MiB, types or threads"),
        .integer("ROUNDS", default: 5, in: 1...1_000_000, "how much work there is"),
      ])
    program.main(configuring: { configuration, arguments in
      Subject(rawValue: arguments.text("SUBJECT"))?.configure(&configuration)
    }) { heap, arguments in
      guard let subject = Subject(rawValue: arguments.text("SUBJECT")) else {
        throw ProgramFailure(.usage, "there is no such subject")
      }
      if subject == .types, arguments.integer("AMOUNT") > 1000 {
        throw ProgramFailure(.usage, "AMOUNT: there are no more than 1000 types")
      }
      let cpuStart = ProcessUsage.cpuSeconds
      var findings = try subject.run(
        heap, amount: arguments.integer("AMOUNT"), rounds: arguments.integer("ROUNDS"))
      let statistics = heap.statistics
      findings.figures.add("cpu_s", ProcessUsage.cpuSeconds - cpuStart)
      findings.figures.add("minor_cycles", Double(statistics.minorCycleCount))
      findings.figures.add("pause_median_us", statistics.pauses.percentile(50) / .microseconds(1))
      findings.figures.add("pause_p99_us", statistics.pauses.percentile(99) / .microseconds(1))
      return Outcome(findings.checksum, wall: findings.wall, extra: findings.figures)
    }
  }
}
