// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// gcbench: trees top down and bottom up, beside a live tree and a live array.
//
// The classic test of John Ellis and Pete Kovac, in Hans Boehm's version. Two ways to build the
// same tree cost a collector different things:
//
// - Bottom up, children exist before their parent, and a node is complete when it is allocated.
//   References point from younger objects to older ones, no store goes through the barrier.
// - Top down, the parent is allocated first and its children are stored into it afterwards. Every
//   node is mutated twice, and while the collector marks, every one of these stores has to shade.
//
// Each depth makes the same number of nodes both ways, and both are timed (`top_down_s`,
// `bottom_up_s`). Beside them live a tree of LONG, which marking has to visit again and again, and
// an array of ARRAY doubles, which it must not look into: an array without references is a single
// mark, however large it is.

internal import Mutator
internal import ProgramSupport

struct Node: HeapObject {
  var left: HeapRef<Node>?
  var right: HeapRef<Node>?
  var i: Int32 = 0
  var j: Int32 = 0
}

// MARK: - Trees

/// Gives a node all its descendants, parents before children.
func fillTopDown(_ node: HeapRef<Node>, _ depth: Int, in mutator: HeapMutator) {
  guard depth > 0 else { return }
  let left = mutator.allocate(Node())
  node.left = left
  let right = mutator.allocate(Node())
  node.right = right
  fillTopDown(left, depth - 1, in: mutator)
  fillTopDown(right, depth - 1, in: mutator)
}

func topDown(_ depth: Int, in mutator: HeapMutator) -> HeapRef<Node> {
  let root = mutator.allocate(Node())
  fillTopDown(root, depth, in: mutator)
  return root
}

/// Builds children before parents.
func bottomUp(_ depth: Int, in mutator: HeapMutator) -> HeapRef<Node> {
  guard depth > 0 else { return mutator.allocate(Node()) }
  let left = bottomUp(depth - 1, in: mutator)
  let right = bottomUp(depth - 1, in: mutator)
  return mutator.allocate(Node(left: left, right: right))
}

/// How many nodes a tree has, by visiting all of them.
func count(_ tree: HeapRef<Node>?) -> Int {
  guard let tree else { return 0 }
  return 1 + count(tree.left) + count(tree.right)
}

/// How many nodes there are down the left edge: proves a tree without walking all of it.
func leftEdge(_ tree: HeapRef<Node>) -> Int {
  var length = 0
  var next: HeapRef<Node>? = tree
  while let node = next {
    length += 1
    next = node.left
  }
  return length
}

/// How many nodes a perfect tree of a depth has.
func nodes(_ depth: Int) -> Int { (1 << (depth + 1)) - 1 }

// MARK: - The run

struct Sizes: Sendable {
  let stretch: Int
  let long: Int
  let array: Int
  let smallest: Int
  let largest: Int
}

struct Timings: Sendable {
  var checksum: Checksum
  var topDown = 0
  var bottomUp = 0
}

func run(_ sizes: Sizes, in mutator: HeapMutator) -> Timings {
  var timings = Timings(checksum: Checksum(leftEdge(bottomUp(sizes.stretch, in: mutator))))

  let longLived = topDown(sizes.long, in: mutator)
  let array = mutator.allocateArray(of: Double.self, count: sizes.array, repeating: 0)
  for index in array.indices { array[index] = 1.0 / Double(index + 1) }

  for depth in stride(from: sizes.smallest, through: sizes.largest, by: 2) {
    let trees = 2 * nodes(sizes.stretch) / nodes(depth)
    var edges = 0
    let start = Moment.now
    for _ in 0..<trees { edges += leftEdge(topDown(depth, in: mutator)) }
    let half = Moment.now
    for _ in 0..<trees { edges += leftEdge(bottomUp(depth, in: mutator)) }
    timings.topDown += half - start
    timings.bottomUp += half.elapsed
    timings.checksum.fold(edges)
  }

  timings.checksum.fold(count(longLived))
  timings.checksum.fold(Int(array[sizes.array / 2] * 1e15))
  return timings
}

@main
enum GCBench {
  static func main() {
    let program = Program(
      "gcbench", "Builds trees top down and bottom up beside a live tree and a live array.",
      parameters: [
        .integer("STRETCH", default: 20, in: 0...40, "depth of a tree that stretches the heap"),
        .integer("LONG", default: 18, in: 0...40, "depth of the tree that lives"),
        .integer("ARRAY", default: 2_000_000, in: 1...(1 << 40), "length of the array of doubles"),
        .integer("MIN", default: 4, in: 0...40, "smallest depth of a short-lived tree"),
        .integer("MAX", default: 18, in: 0...40, "largest depth of a short-lived tree"),
      ])
    program.main { heap, arguments in
      let sizes = Sizes(
        stretch: arguments.integer("STRETCH"), long: arguments.integer("LONG"),
        array: arguments.integer("ARRAY"), smallest: arguments.integer("MIN"),
        largest: arguments.integer("MAX"))
      let start = Moment.now
      let timings = heap.withMutator { mutator in run(sizes, in: mutator) }
      return Outcome(
        timings.checksum, wall: start.elapsed,
        extra: [
          "top_down_s": Double(timings.topDown) / 1e9,
          "bottom_up_s": Double(timings.bottomUp) / 1e9,
        ])
    }
  }
}
