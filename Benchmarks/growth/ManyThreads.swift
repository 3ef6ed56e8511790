// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The same work, divided among few threads or many.
//
// Each thread builds, counts and drops trees until none is left to be built. With many more threads
// than processors most of them wait for a processor at any moment, attached: what they cost is a
// cache each, an answer at each handshake, and a stack to be scanned.

internal import Mutator
internal import ProgramSupport

/// Builds a tree of a depth.
private func makeTree(_ depth: Int, in mutator: HeapMutator) -> HeapRef<Node> {
  guard depth > 0 else { return mutator.allocate(Node()) }
  let left = makeTree(depth - 1, in: mutator)
  return mutator.allocate(Node(left: left, right: makeTree(depth - 1, in: mutator)))
}

private func count(_ tree: HeapRef<Node>) -> Int {
  guard let left = tree.left, let right = tree.right else { return 1 }
  return 1 + count(left) + count(right)
}

/// Trees on so many threads.
func usingThreads(_ threads: Int, trees: Int, of heap: ManagedHeap) throws -> Findings {
  var findings = Findings()
  let live = heap.withMutator { HeapRoot(makeTree(16, in: $0), in: $0) }
  func round(_ trees: Int) throws {
    let running = try (0..<threads).map { number in
      // The first ones take what is left over.
      let share = trees / threads + (number < trees % threads ? 1 : 0)
      return try WorkerThread {
        heap.withMutator { mutator in
          (0..<share).reduce(0) { sum, _ in sum + count(makeTree(10, in: mutator)) }
        }
      }
    }
    findings.checksum.fold(running.reduce(0) { $0 + $1.join() })
  }
  try round(max(threads, trees / 10))
  let start = Moment.now
  try round(trees)
  findings.wall = start.elapsed
  findings.figures.add("us_per_tree", Double(findings.wall) / 1e3 / Double(trees))
  findings.checksum.fold(heap.withMutator { count(live.get(in: $0)) })
  return findings
}
