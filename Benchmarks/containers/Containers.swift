// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// containers: HeapList and HeapDictionary beside Swift's Array and Dictionary of class instances.
//
// Each round does the same work with both, one after the other, ROUNDS times; which comes first
// changes from round to round. So what else happens on the machine meets both. The figures are
// nanoseconds for each of N elements, medians of the rounds:
//
//     list        list_build, list_sum, list_drop            objects in a list, in order
//     numbers     numbers_build, numbers_look, …             objects by Int, asked for at random
//     strings     strings_build, strings_look, …             objects by text, asked for at random
//     miss        what is not there is asked for
//     build       makes the container, empty at first, and the objects
//     drop        lets go of both. For the heap's: a full collection, which every other thread of the
//                 program could have made as well. For Swift's: the last reference goes
//     churn       build and drop together, of many containers, one after the other, as a program does:
//                 the heap decides when it collects, and what it takes for that is in the figure
//
// `swift_…` are Swift's; `ratio_…` is the heap's time divided by Swift's.

internal import Mutator
internal import ProgramSupport

/// What the containers are measured for.
enum Subject: String, CaseIterable {
  case list, numbers, strings, small
}

/// Times of one side: nanoseconds of each step, in each round.
struct Times {
  private(set) var steps: [(name: String, nanoseconds: [Int])] = []

  mutating func add(_ name: String, _ nanoseconds: Int) {
    if let place = steps.firstIndex(where: { $0.name == name }) {
      steps[place].nanoseconds.append(nanoseconds)
    } else {
      steps.append((name, [nanoseconds]))
    }
  }

  /// Runs a step and adds what it took.
  mutating func measure<Result>(_ name: String, _ step: () -> Result) -> Result {
    let start = Moment.now
    let result = step()
    add(name, start.elapsed)
    return result
  }
}

/// Both sides of a comparison.
struct Comparison {
  let name: String
  let count: Int
  private var ours = Times()
  private var swift = Times()
  private(set) var checksum = Checksum()

  init(_ name: String, count: Int) {
    self.name = name
    self.count = count
  }

  /// Runs rounds. Each side returns what it has computed: the same.
  mutating func run(
    rounds: Int, ours our: (inout Times) -> Int, swift their: (inout Times) -> Int
  ) throws {
    for round in 0..<rounds {
      let first = round % 2 == 0 ? our(&ours) : their(&swift)
      let second = round % 2 == 0 ? their(&swift) : our(&ours)
      guard first == second else {
        throw ProgramFailure(.heapFailed, "\(name): \(first) is not \(second)")
      }
      checksum.fold(first)
    }
  }

  var figures: Figures {
    var figures = Figures()
    for (mine, theirs) in zip(ours.steps, swift.steps) {
      let (a, b) = (median(mine.nanoseconds), median(theirs.nanoseconds))
      figures.add("\(name)_\(mine.name)_ns", a / Double(count))
      figures.add("swift_\(name)_\(theirs.name)_ns", b / Double(count))
      figures.add("ratio_\(name)_\(mine.name)", a / b)
    }
    return figures
  }

  private func median(_ numbers: [Int]) -> Double {
    let sorted = numbers.sorted()
    return Double(sorted[sorted.count / 2])
  }
}

@main
enum Containers {
  static func main() {
    let program = Program(
      "containers", "Measures lists and dictionaries beside those of Swift's standard library.",
      parameters: [
        .choice(
          "SUBJECT", default: "numbers", among: Subject.allCases.map(\.rawValue),
          "which containers"),
        .integer("N", default: 1_000_000, in: 16...50_000_000, "elements"),
        .integer("ROUNDS", default: 5, in: 1...1000, "rounds of both"),
      ])
    program.main { heap, arguments in
      guard let subject = Subject(rawValue: arguments.text("SUBJECT")) else {
        throw ProgramFailure(.usage, "there is no such subject")
      }
      let (count, rounds) = (arguments.integer("N"), arguments.integer("ROUNDS"))
      let start = Moment.now
      var comparison = Comparison(subject.rawValue, count: count)
      switch subject {
      case .list:
        try comparison.run(rounds: rounds) {
          ListWork.ours(count, on: heap, &$0)
        } swift: {
          ListWork.swift(count, &$0)
        }
      case .numbers:
        let keys = KeyOrder(count)
        try comparison.run(rounds: rounds) {
          NumberWork.ours(keys, on: heap, &$0)
        } swift: {
          NumberWork.swift(keys, &$0)
        }
      case .strings:
        let words = Words(count)
        try comparison.run(rounds: rounds) {
          StringWork.ours(words, on: heap, &$0)
        } swift: {
          StringWork.swift(words, &$0)
        }
      case .small:
        try comparison.run(rounds: rounds) {
          SmallWork.ours(count, on: heap, &$0)
        } swift: {
          SmallWork.swift(count, &$0)
        }
      }
      return Outcome(comparison.checksum, wall: start.elapsed, extra: comparison.figures)
    }
  }
}
