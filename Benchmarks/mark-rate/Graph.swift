// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The graph that is marked: a tree over all nodes, and random edges.
//
// A node's first two edges make a heap-ordered tree (node i has the children 2i + 1 and 2i + 2), so
// everything hangs on node 0 and a walk needs a stack of only log n frames. The remaining edges,
// one or two, go anywhere. The nodes are allocated in random order, so that neighbours in the tree
// are strangers in memory: no prefetcher will guess the next address, and a mark loop that waits
// for memory at every object shows it.
//
//     bytes   edges              rest
//     32      left right third   id
//     64      left right third fourth   id, three words of padding
//
// The two node types conform to `GraphNode` by static functions over references, so that each is
// compiled to plain field access: a requirement `var left` would go through a key path made at run
// time.

internal import Mutator
internal import ProgramSupport

protocol GraphNode: HeapObject {
  init(id: Int)
  static func id(_ node: HeapRef<Self>) -> Int
  static func left(_ node: HeapRef<Self>) -> HeapRef<Self>?
  static func right(_ node: HeapRef<Self>) -> HeapRef<Self>?
  static func setChildren(_ node: HeapRef<Self>, _ left: HeapRef<Self>?, _ right: HeapRef<Self>?)

  /// Edges that are not the tree's.
  static var randomEdges: Int { get }
  static func randomEdge(_ edge: Int, _ node: HeapRef<Self>) -> HeapRef<Self>?
  static func setRandomEdge(_ edge: Int, _ node: HeapRef<Self>, _ target: HeapRef<Self>?)
}

// MARK: - Nodes

struct Node32: GraphNode {
  var left: HeapRef<Node32>?
  var right: HeapRef<Node32>?
  var third: HeapRef<Node32>?
  let id: Int

  init(id: Int) { self.id = id }

  static func id(_ node: HeapRef<Node32>) -> Int { node.id }
  static func left(_ node: HeapRef<Node32>) -> HeapRef<Node32>? { node.left }
  static func right(_ node: HeapRef<Node32>) -> HeapRef<Node32>? { node.right }

  static func setChildren(
    _ node: HeapRef<Node32>, _ left: HeapRef<Node32>?, _ right: HeapRef<Node32>?
  ) {
    node.left = left
    node.right = right
  }

  static var randomEdges: Int { 1 }

  static func randomEdge(_ edge: Int, _ node: HeapRef<Node32>) -> HeapRef<Node32>? { node.third }

  static func setRandomEdge(_ edge: Int, _ node: HeapRef<Node32>, _ target: HeapRef<Node32>?) {
    node.third = target
  }
}

struct Node64: GraphNode {
  var left: HeapRef<Node64>?
  var right: HeapRef<Node64>?
  var third: HeapRef<Node64>?
  var fourth: HeapRef<Node64>?
  let id: Int
  let padding = InlineArray<3, Int>(repeating: 0)

  init(id: Int) { self.id = id }

  static func id(_ node: HeapRef<Node64>) -> Int { node.id }
  static func left(_ node: HeapRef<Node64>) -> HeapRef<Node64>? { node.left }
  static func right(_ node: HeapRef<Node64>) -> HeapRef<Node64>? { node.right }

  static func setChildren(
    _ node: HeapRef<Node64>, _ left: HeapRef<Node64>?, _ right: HeapRef<Node64>?
  ) {
    node.left = left
    node.right = right
  }

  static var randomEdges: Int { 2 }

  static func randomEdge(_ edge: Int, _ node: HeapRef<Node64>) -> HeapRef<Node64>? {
    edge == 0 ? node.third : node.fourth
  }

  static func setRandomEdge(_ edge: Int, _ node: HeapRef<Node64>, _ target: HeapRef<Node64>?) {
    if edge == 0 { node.third = target } else { node.fourth = target }
  }
}

// MARK: - Building and walking

/// The order in which nodes are allocated.
///
/// No reference is in it, so it may be a Swift array.
private func shuffled(_ count: Int, _ stream: inout KeyStream) -> [Int32] {
  var order = (0..<count).map { Int32(truncatingIfNeeded: $0) }
  for index in stride(from: count - 1, to: 0, by: -1) {
    order.swapAt(index, stream.next(below: index + 1))
  }
  return order
}

/// Builds a graph of `count` nodes, at least one, and returns node 0.
///
/// Not inlined, so that the array of all nodes is gone from the stack when the caller collects.
@inline(never)
func buildGraph<Node: GraphNode>(
  of type: Node.Type, count: Int, in mutator: HeapMutator
) -> HeapRef<Node> {
  var stream = KeyStream()
  let nodes = mutator.allocateArray(of: HeapRef<Node>?.self, count: count, repeating: nil)
  for id in shuffled(count, &stream) {
    nodes[Int(id)] = mutator.allocate(Node(id: Int(id)))
  }
  for index in 0..<count {
    guard let node = nodes[index] else { preconditionFailure("node \(index) was not made") }
    let left = 2 * index + 1
    Node.setChildren(
      node, left < count ? nodes[left] : nil, left + 1 < count ? nodes[left + 1] : nil)
    for edge in 0..<Node.randomEdges {
      Node.setRandomEdge(edge, node, nodes[stream.next(below: count)])
    }
  }
  guard let root = nodes[0] else { preconditionFailure("a graph has at least one node") }
  return root
}

/// Folds the numbers of all nodes and of the nodes at their random edges, in the tree's order.
func walk<Node: GraphNode>(_ node: HeapRef<Node>, _ checksum: inout Checksum) {
  checksum.fold(Node.id(node))
  for edge in 0..<Node.randomEdges {
    if let target = Node.randomEdge(edge, node) { checksum.fold(Node.id(target)) }
  }
  if let left = Node.left(node) { walk(left, &checksum) }
  if let right = Node.right(node) { walk(right, &checksum) }
}
