// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The live graph, and what is done beside it.
//
// Trees of 1023 nodes of 32 bytes hang on one array. A tree is built depth first, so its nodes lie
// in memory as a program would have them that builds and keeps things. In a scattered graph each
// node refers to a random older one besides. So marking goes to an address that no prefetcher guesses
// once a node, and its cost contains the machine's own: the larger the graph, the more often the
// address of a page is in no cache.

internal import Collector
internal import Mutator
internal import ProgramSupport

struct Node: HeapObject {
  var left: HeapRef<Node>?
  var right: HeapRef<Node>?
  var other: HeapRef<Node>?
  var number = 0

  static let size = 32
}

/// Trees that live.
///
/// Both arrays are heap objects; this struct lies on the stack.
struct LiveTrees {
  static let depth = 9
  static let nodesPerTree = (1 << (depth + 1)) - 1

  let trees: HeapArray<HeapRef<Node>?>
  /// One node in 16, for random references to go to.
  let some: HeapArray<HeapRef<Node>?>
  let nodeCount: Int
  private var stream = KeyStream()
  private var made = 0

  /// Bytes of the nodes.
  var size: Int { nodeCount * Node.size }

  init(mib: Int, isScattered: Bool, in mutator: HeapMutator) {
    let count = max(1, (mib << 20) / (Node.size * Self.nodesPerTree))
    nodeCount = count * Self.nodesPerTree
    trees = mutator.allocateArray(of: HeapRef<Node>?.self, count: count, repeating: nil)
    some = mutator.allocateArray(
      of: HeapRef<Node>?.self, count: nodeCount / 16, repeating: nil)
    for index in 0..<count { trees[index] = tree(Self.depth, isScattered, in: mutator) }
  }

  private mutating func tree(
    _ depth: Int, _ isScattered: Bool, in mutator: HeapMutator
  ) -> HeapRef<Node> {
    let node = mutator.allocate(Node(number: made))
    if made % 16 == 15 { some[made / 16] = node }
    made += 1
    if isScattered, made > 16 { node.other = some[stream.next(below: made / 16)] }
    if depth > 0 {
      node.left = tree(depth - 1, isScattered, in: mutator)
      node.right = tree(depth - 1, isScattered, in: mutator)
    }
    return node
  }

  /// A random old node.
  mutating func random() -> HeapRef<Node> {
    guard let node = some[stream.next(below: some.count)] else {
      preconditionFailure("a node is missing")
    }
    return node
  }

  /// Folds the numbers of the nodes in some trees.
  func fold(into checksum: inout Checksum) {
    func walk(_ node: HeapRef<Node>) {
      checksum.fold(node.number)
      if let other = node.other { checksum.fold(other.number) }
      if let left = node.left { walk(left) }
      if let right = node.right { walk(right) }
    }
    for index in stride(from: 0, to: trees.count, by: max(1, trees.count / 64)) {
      if let tree = trees[index] { walk(tree) }
    }
  }
}

// MARK: - Subjects

/// Full collections of live trees.
func marking(mib: Int, isScattered: Bool, rounds: Int, in mutator: HeapMutator) -> Findings {
  let trees = LiveTrees(mib: mib, isScattered: isScattered, in: mutator)
  var findings = Findings()
  mutator.collect()
  var times: [Int] = []
  let start = Moment.now
  for _ in 0..<rounds {
    let roundStart = Moment.now
    mutator.collect()
    times.append(roundStart.elapsed)
  }
  findings.wall = start.elapsed
  let median = times.sorted()[rounds / 2]
  findings.figures.add("ns_per_byte", Double(median) / Double(trees.size))
  findings.addCycles(times)
  trees.fold(into: &findings.checksum)
  return findings
}

/// Bytes of young nodes for each minor collection.
private let youngSize = 16 << 20

/// Minor collections beside trees that are old.
func minors(mib: Int, rounds: Int, in mutator: HeapMutator) -> Findings {
  var trees = LiveTrees(mib: mib, isScattered: false, in: mutator)
  var findings = Findings()
  mutator.collect()
  var times: [Int] = []
  let start = Moment.now
  for _ in 0...rounds {
    for number in 0..<(youngSize / Node.size) {
      let node = mutator.allocate(Node(number: number))
      if number % 64 == 0 { trees.random().other = node }
    }
    let roundStart = Moment.now
    mutator.heap.core.requests.collectAndWait(ofAnyKind: true)
    times.append(roundStart.elapsed)
  }
  findings.wall = start.elapsed
  findings.addCycles(Array(times.dropFirst()))
  trees.fold(into: &findings.checksum)
  return findings
}

/// Nodes that die at once, beside trees that live.
func allocating(mib: Int, rounds: Int, in mutator: HeapMutator) -> Findings {
  let trees = LiveTrees(mib: mib, isScattered: false, in: mutator)
  var findings = Findings()
  func round() {
    for number in 0..<trees.nodeCount {
      findings.checksum.fold(mutator.allocate(Node(number: number)).number)
    }
  }
  mutator.collect()
  // The heap grows to its goal.
  round()
  let start = Moment.now
  for _ in 0..<rounds { round() }
  findings.wall = start.elapsed
  let bytes = Double(trees.size) * Double(rounds)
  findings.figures.add("ns_per_byte", Double(findings.wall) / bytes)
  findings.figures.add("mib_per_s", bytes / Double(1 << 20) / (Double(findings.wall) / 1e9))
  trees.fold(into: &findings.checksum)
  return findings
}
