// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// threads: threads that build and drop trees at the same time, in one heap.
//
// Each thread attaches itself, keeps a live tree of depth LONG, and builds, counts and drops TREES
// trees of depth DEPTH. The rounds run with 1, 2, … MAX threads and each thread always does the
// same work, so perfect scaling is a constant time. `t2_s` is the time of the round with two
// threads and `scaling_2` = 2 × t1_s / t2_s is how many threads' worth of work it did.
//
// A round with MAX threads comes first and does not count: it brings the heap to its size.
//
// What could stand in the way of scaling, and is therefore measured here: the page heap's lock and
// the central lists when caches are refilled, the memory bandwidth of zeroing, and collections,
// which are shared by all threads of a heap.

internal import Mutator
internal import ProgramSupport

struct Node: HeapObject {
  let left: HeapRef<Node>?
  let right: HeapRef<Node>?
}

func makeTree(_ depth: Int, in mutator: HeapMutator) -> HeapRef<Node> {
  guard depth > 0 else { return mutator.allocate(Node(left: nil, right: nil)) }
  let left = makeTree(depth - 1, in: mutator)
  let right = makeTree(depth - 1, in: mutator)
  return mutator.allocate(Node(left: left, right: right))
}

func count(_ tree: HeapRef<Node>) -> Int {
  guard let left = tree.left, let right = tree.right else { return 1 }
  return 1 + count(left) + count(right)
}

/// What one thread is to do.
struct Work: Sendable {
  let longDepth: Int
  let treeDepth: Int
  let trees: Int

  /// Builds a tree that lives, and many that do not; returns how many nodes were counted.
  func run(on heap: ManagedHeap) -> Int {
    heap.withMutator { mutator in
      let longLived = makeTree(longDepth, in: mutator)
      var nodes = 0
      for _ in 0..<trees { nodes += count(makeTree(treeDepth, in: mutator)) }
      return nodes + count(longLived)
    }
  }
}

/// Runs the same work on several threads and waits for all; returns what each has counted.
func runRound(_ threads: Int, _ work: Work, on heap: ManagedHeap) throws -> [Int] {
  let running = try (0..<threads).map { _ in
    try WorkerThread { work.run(on: heap) }
  }
  return running.map { $0.join() }
}

@main
enum Threads {
  static func main() {
    let program = Program(
      "threads", "Builds and drops trees on several threads of one heap.",
      parameters: [
        .integer("MAX", default: 2, in: 1...1024, "threads in the last round"),
        .integer("LONG", default: 16, in: 0...40, "depth of each thread's tree that lives"),
        .integer("DEPTH", default: 10, in: 0...40, "depth of the trees that do not"),
        .integer("TREES", default: 10_000, in: 0...(.max), "how many of them a thread makes"),
      ])
    program.main { heap, arguments in
      let most = arguments.integer("MAX")
      let work = Work(
        longDepth: arguments.integer("LONG"), treeDepth: arguments.integer("DEPTH"),
        trees: arguments.integer("TREES"))
      var checksum = Checksum()
      var figures = Figures()
      for nodes in try runRound(most, work, on: heap) { checksum.fold(nodes) }

      let start = Moment.now
      var secondsOfOne = 0.0
      for threads in 1...most {
        let roundStart = Moment.now
        for nodes in try runRound(threads, work, on: heap) { checksum.fold(nodes) }
        let seconds = Double(roundStart.elapsed) / 1e9
        if threads == 1 { secondsOfOne = seconds }
        figures.add("t\(threads)_s", seconds)
        figures.add("scaling_\(threads)", Double(threads) * secondsOfOne / seconds)
      }
      return Outcome(checksum, wall: start.elapsed, extra: figures)
    }
  }
}
