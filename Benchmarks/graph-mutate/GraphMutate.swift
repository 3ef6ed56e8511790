// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// graph-mutate: random reference stores into a big live graph.
//
// The benchmark of the write barrier. NODES nodes with four edges each, all live, all random; then
// OPS operations, each of which reads through one edge and stores one. Every EVERYth operation
// replaces a node by a fresh one: four initialising stores, one store into the array of nodes, four
// stores of nil into the old node, which others may still point to.
//
// Between collections such a store costs a test of one flag. While the collector marks, it shades
// what it overwrites and what it writes, so the figure (`mops_per_s`) depends on how much of the
// time marking is under way, and on how quickly the graph, which has no locality at all, is marked.
//
// The edges are an inline array: the node is to be one object, as it is in the other languages.
//
// The set-up and the final walk over all edges are not timed.

internal import Mutator
internal import ProgramSupport

struct Node: HeapObject {
  var edges = InlineArray<4, HeapRef<Node>?>(repeating: nil)
  let value: Int

  static let edgeCount = 4
}

extension HeapRef<Node> {
  /// The node at the end of an edge, which is never missing in a node of the graph.
  func target(of edge: Int) -> HeapRef<Node> {
    guard let target = self[\.edges, edge] else {
      preconditionFailure("edge \(edge) of a live node is nil")
    }
    return target
  }

  func setTarget(of edge: Int, _ target: HeapRef<Node>) { self[\.edges, edge] = target }

  func cutEdges() {
    for edge in 0..<Node.edgeCount { self[\.edges, edge] = nil }
  }
}

/// All nodes, by number.
///
/// The array is a heap object; this struct lives on the stack.
struct Graph {
  private let nodes: HeapArray<HeapRef<Node>?>
  private var stream = KeyStream()

  /// Makes all nodes first, and then their edges.
  init(count: Int, in mutator: HeapMutator) {
    nodes = mutator.allocateArray(of: HeapRef<Node>?.self, count: count, repeating: nil)
    for index in 0..<count {
      nodes[index] = mutator.allocate(Node(value: index))
    }
    for index in 0..<count {
      let node = self[index]
      for edge in 0..<Node.edgeCount { node.setTarget(of: edge, randomNode()) }
    }
  }

  subscript(index: Int) -> HeapRef<Node> {
    guard let node = nodes[index] else { preconditionFailure("node \(index) is missing") }
    return node
  }

  private mutating func randomNode() -> HeapRef<Node> {
    self[stream.next(below: nodes.count)]
  }

  /// One operation; returns the value that was read.
  @inline(__always)
  mutating func step(_ operation: Int, every: Int, in mutator: HeapMutator) -> Int {
    let index = stream.next(below: nodes.count)
    let other = stream.next(below: nodes.count)
    let edge = stream.next() >> 20 & 3
    let node = self[index]
    let value = node.target(of: edge).value

    if operation % every == 0 {
      // A fresh node takes the place of this one; whoever points to this one still does.
      let fresh = mutator.allocate(Node(value: operation & thirtyBits))
      for edge in 0..<Node.edgeCount { fresh.setTarget(of: edge, randomNode()) }
      nodes[index] = fresh
      node.cutEdges()
    } else {
      node.setTarget(of: edge, self[other])
    }
    return value
  }

  /// Folds the values at the ends of all edges.
  func fold(into checksum: inout Checksum) {
    for index in nodes.indices {
      for edge in 0..<Node.edgeCount { checksum.fold(self[index].target(of: edge).value) }
    }
  }
}

@main
enum GraphMutate {
  static func main() {
    let program = Program(
      "graph-mutate", "Stores references at random into a big live graph.",
      parameters: [
        .integer("NODES", default: 1_000_000, in: 1...(1 << 30), "nodes of four edges"),
        .integer("OPS", default: 20_000_000, in: 1...(.max), "operations"),
        .integer("EVERY", default: 8, in: 1...(.max), "operations to a node that is replaced"),
      ])
    program.main { heap, arguments in
      let operations = arguments.integer("OPS")
      let (checksum, wall) = heap.withMutator { mutator in
        let every = arguments.integer("EVERY")
        var graph = Graph(count: arguments.integer("NODES"), in: mutator)
        var checksum = Checksum()
        let start = Moment.now
        for operation in 0..<operations {
          checksum.fold(graph.step(operation, every: every, in: mutator))
        }
        let wall = start.elapsed
        graph.fold(into: &checksum)
        return (checksum, wall)
      }
      return Outcome(
        checksum, wall: wall, extra: ["mops_per_s": Double(operations) * 1e3 / Double(wall)])
    }
  }
}
