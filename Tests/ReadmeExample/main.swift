import Mutator

struct Node: HeapObject {
  var left: HeapRef<Node>?
  var right: HeapRef<Node>?
  var key = 0
}

func tree(_ mutator: HeapMutator, depth: Int) -> HeapRef<Node> {
  guard depth > 0 else { return mutator.allocate(Node()) }
  let left = tree(mutator, depth: depth - 1)
  return mutator.allocate(Node(left: left, right: tree(mutator, depth: depth - 1), key: depth))
}

let heap = try ManagedHeap()
heap.gcPercent = 200
let key = heap.withMutator { mutator in
  let root = tree(mutator, depth: 20)
  root.left = nil  // half of the tree is garbage now; nobody has to say so
  return root.key
}
print(key, heap.statistics.cycleCount)
