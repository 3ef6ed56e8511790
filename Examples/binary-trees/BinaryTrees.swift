// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// binary-trees: builds, counts and drops perfect binary trees.
//
// The smallest program that makes a collector work: objects of two references, almost all of them
// short-lived, beside one tree that lives through the whole run. First a tree of DEPTH + 1 that
// stretches the heap and dies, then the long-lived one, then for depths 4, 8, … many trees, so
// that every depth makes about the same number of nodes.
//
// Worth a look:
//
// - `Node` is an ordinary struct. Its references are `let`, so a tree is built from the leaves up
//   and never changed: no write barrier runs in this program.
// - The mutator is one word. Handing it down the recursion costs a register and saves looking it
//   up again at every allocation.
// - Nothing is released. A tree that was counted is simply no longer mentioned.
// - Half-built trees live in the locals of `makeTree`, where the collector finds them: stacks are
//   scanned.

internal import Mutator
internal import ProgramSupport

struct Node: HeapObject {
  let left: HeapRef<Node>?
  let right: HeapRef<Node>?
}

/// Builds a perfect tree; depth 0 is a leaf.
func makeTree(_ depth: Int, in mutator: HeapMutator) -> HeapRef<Node> {
  guard depth > 0 else { return mutator.allocate(Node(left: nil, right: nil)) }
  let left = makeTree(depth - 1, in: mutator)
  let right = makeTree(depth - 1, in: mutator)
  return mutator.allocate(Node(left: left, right: right))
}

/// How many nodes a tree has, by visiting all of them.
func count(_ tree: HeapRef<Node>) -> Int {
  guard let left = tree.left, let right = tree.right else { return 1 }
  return 1 + count(left) + count(right)
}

/// Builds and drops; returns the checksum and how many nodes were made.
func run(depth: Int, in mutator: HeapMutator) -> (checksum: Checksum, made: Int) {
  var made = count(makeTree(depth + 1, in: mutator))
  var checksum = Checksum(made)

  let longLived = makeTree(depth, in: mutator)
  for treeDepth in stride(from: 4, through: depth, by: 4) {
    var nodes = 0
    for _ in 0..<(1 << (depth - treeDepth + 4)) {
      nodes += count(makeTree(treeDepth, in: mutator))
    }
    checksum.fold(nodes)
    made += nodes
  }

  let nodes = count(longLived)
  checksum.fold(nodes)
  return (checksum, made + nodes)
}

@main
enum BinaryTrees {
  static func main() {
    let program = Program(
      "binary-trees", "Builds, counts and drops perfect binary trees.",
      parameters: [
        .integer("DEPTH", default: 18, in: 0...40, "depth of the tree that lives")
      ])
    program.main { heap, arguments in
      let depth = arguments.integer("DEPTH")
      let start = Moment.now
      let (checksum, made) = heap.withMutator { mutator in run(depth: depth, in: mutator) }
      let wall = start.elapsed
      return Outcome(
        checksum, wall: wall, extra: ["ns_per_node": Double(wall) / Double(made)])
    }
  }
}
