// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The same work for both sides, line by line.
//
// The objects have a number and a link, as a struct in the heap and as a class. The functions that do a
// step are not inlined, so that a container is gone from the stack when the next step begins.

internal import Mutator
internal import ProgramSupport

struct Node: HeapObject {
  var key: Int
  var next: HeapRef<Node>?
}

final class SwiftNode {
  let key: Int
  var next: SwiftNode?
  init(key: Int, next: SwiftNode?) {
    self.key = key
    self.next = next
  }
}

/// The numbers 0..<count in the order in which they are added, and in another one.
struct KeyOrder {
  let added: [Int]
  let asked: [Int]

  init(_ count: Int) {
    var random = Random(seed: 42)
    var keys = (0..<count).map { _ in Int(truncatingIfNeeded: random.next()) }
    added = keys
    for index in stride(from: count - 1, to: 0, by: -1) {
      keys.swapAt(index, Int(random.next() % UInt64(index + 1)))
    }
    asked = keys
  }
}

/// Different texts of 4 to 20 bytes.
struct Words {
  let added: [String]
  let asked: [String]

  init(_ count: Int) {
    let order = KeyOrder(count)
    added = order.added.map { "k" + String($0 & 0xff_ffff_ffff, radix: 36) }
    asked = order.asked.map { "k" + String($0 & 0xff_ffff_ffff, radix: 36) }
  }
}

/// SplitMix64.
struct Random: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

// MARK: - Lists

enum ListWork {
  static func ours(_ count: Int, on heap: ManagedHeap, _ times: inout Times) -> Int {
    let root = heap.withMutator { mutator in
      times.measure("build") { HeapRoot(build(count, mutator), in: mutator) }
    }
    let total = heap.withMutator { mutator -> Int in
      times.measure("sum") { sum(root.get(in: mutator)) }
        &+ times.measure("index") { sumByIndex(root.get(in: mutator)) }
    }
    times.measure("drop") {
      heap.withMutator { clear(root, $0) }
      heap.collect()
    }
    times.measure("churn") {
      heap.withMutator { mutator in
        for _ in 0..<4 { use(build(count / 4, mutator)) }
      }
    }
    return total
  }

  @inline(never) static func build(_ count: Int, _ mutator: HeapMutator) -> HeapList<HeapRef<Node>>
  {
    let list = HeapList<HeapRef<Node>>(in: mutator)
    for key in 0..<count { list.append(mutator.allocate(Node(key: key, next: nil)), in: mutator) }
    return list
  }

  @inline(never) static func clear(
    _ root: HeapRoot<HeapList<HeapRef<Node>>>, _ mutator: HeapMutator
  ) { root.set(HeapList(in: mutator), in: mutator) }

  @inline(never) static func use(_ list: HeapList<HeapRef<Node>>) {}

  @inline(never) static func sum(_ list: HeapList<HeapRef<Node>>) -> Int {
    var sum = 0
    for node in list { sum &+= node.key }
    return sum
  }

  @inline(never) static func sumByIndex(_ list: HeapList<HeapRef<Node>>) -> Int {
    var sum = 0
    for index in 0..<list.count { sum &+= list[index].key }
    return sum
  }

  static func swift(_ count: Int, _ times: inout Times) -> Int {
    var list = times.measure("build") { build(count) }
    let total = times.measure("sum") { sum(list) } &+ times.measure("index") { sumByIndex(list) }
    times.measure("drop") { list = [] }
    times.measure("churn") {
      for _ in 0..<4 { use(build(count / 4)) }
    }
    return total
  }

  @inline(never) static func build(_ count: Int) -> [SwiftNode] {
    var list: [SwiftNode] = []
    for key in 0..<count { list.append(SwiftNode(key: key, next: nil)) }
    return list
  }

  @inline(never) static func use(_ list: [SwiftNode]) {}

  @inline(never) static func sum(_ list: [SwiftNode]) -> Int {
    var sum = 0
    for node in list { sum &+= node.key }
    return sum
  }

  @inline(never) static func sumByIndex(_ list: [SwiftNode]) -> Int {
    var sum = 0
    for index in 0..<list.count { sum &+= list[index].key }
    return sum
  }
}

// MARK: - Dictionaries by number

enum NumberWork {
  static func ours(_ keys: KeyOrder, on heap: ManagedHeap, _ times: inout Times) -> Int {
    let root = heap.withMutator { mutator in
      times.measure("build") { HeapRoot(build(keys.added[...], mutator), in: mutator) }
    }
    let sum = heap.withMutator { mutator -> Int in
      times.measure("look") { look(keys.asked, root.get(in: mutator)) }
        &+ times.measure("miss") { miss(keys.asked, root.get(in: mutator)) }
        &+ times.measure("all") { all(root.get(in: mutator)) }
    }
    times.measure("drop") {
      heap.withMutator { clear(root, $0) }
      heap.collect()
    }
    times.measure("churn") {
      heap.withMutator { mutator in
        for part in 0..<4 { use(build(keys.added.prefix(keys.added.count / 4 - part), mutator)) }
      }
    }
    return sum
  }

  typealias Table = HeapDictionary<Int, HeapRef<Node>>

  @inline(never) static func build(_ keys: ArraySlice<Int>, _ mutator: HeapMutator) -> Table {
    let table = Table(in: mutator)
    for key in keys {
      table.updateValue(mutator.allocate(Node(key: key, next: nil)), forKey: key, in: mutator)
    }
    return table
  }

  @inline(never) static func clear(_ root: HeapRoot<Table>, _ mutator: HeapMutator) {
    root.set(Table(in: mutator), in: mutator)
  }

  @inline(never) static func use(_ table: Table) {}

  @inline(never) static func look(_ keys: [Int], _ table: Table) -> Int {
    var sum = 0
    for key in keys { if let node = table[key] { sum &+= node.key } }
    return sum
  }

  @inline(never) static func miss(_ keys: [Int], _ table: Table) -> Int {
    var sum = 0
    for key in keys where table[key &+ 1] == nil { sum &+= 1 }
    return sum
  }

  @inline(never) static func all(_ table: Table) -> Int {
    var sum = 0
    for (_, node) in table { sum &+= node.key }
    return sum
  }

  static func swift(_ keys: KeyOrder, _ times: inout Times) -> Int {
    var table = times.measure("build") { build(keys.added[...]) }
    let sum =
      times.measure("look") { look(keys.asked, table) }
      &+ times.measure("miss") { miss(keys.asked, table) } &+ times.measure("all") { all(table) }
    times.measure("drop") { table = [:] }
    times.measure("churn") {
      for part in 0..<4 { use(build(keys.added.prefix(keys.added.count / 4 - part))) }
    }
    return sum
  }

  @inline(never) static func build(_ keys: ArraySlice<Int>) -> [Int: SwiftNode] {
    var table: [Int: SwiftNode] = [:]
    for key in keys { table.updateValue(SwiftNode(key: key, next: nil), forKey: key) }
    return table
  }

  @inline(never) static func use(_ table: [Int: SwiftNode]) {}

  @inline(never) static func look(_ keys: [Int], _ table: [Int: SwiftNode]) -> Int {
    var sum = 0
    for key in keys { if let node = table[key] { sum &+= node.key } }
    return sum
  }

  @inline(never) static func miss(_ keys: [Int], _ table: [Int: SwiftNode]) -> Int {
    var sum = 0
    for key in keys where table[key &+ 1] == nil { sum &+= 1 }
    return sum
  }

  @inline(never) static func all(_ table: [Int: SwiftNode]) -> Int {
    var sum = 0
    for (_, node) in table { sum &+= node.key }
    return sum
  }
}

// MARK: - Dictionaries by text

enum StringWork {
  typealias Table = HeapDictionary<HeapString, HeapRef<Node>>

  static func ours(_ words: Words, on heap: ManagedHeap, _ times: inout Times) -> Int {
    let root = heap.withMutator { mutator in
      times.measure("build") { HeapRoot(build(words.added, mutator), in: mutator) }
    }
    let sum = heap.withMutator { mutator -> Int in
      times.measure("look") { look(words.asked, root.get(in: mutator)) }
    }
    times.measure("drop") {
      heap.withMutator { clear(root, $0) }
      heap.collect()
    }
    return sum
  }

  @inline(never) static func build(_ words: [String], _ mutator: HeapMutator) -> Table {
    let table = Table(in: mutator)
    for (key, word) in words.enumerated() {
      let node = mutator.allocate(Node(key: key, next: nil))
      table.updateValue(node, forKey: mutator.allocateString(word), in: mutator)
    }
    return table
  }

  @inline(never) static func clear(_ root: HeapRoot<Table>, _ mutator: HeapMutator) {
    root.set(Table(in: mutator), in: mutator)
  }

  @inline(never) static func look(_ words: [String], _ table: Table) -> Int {
    var sum = 0
    for word in words { if let node = table[word] { sum &+= node.key } }
    return sum
  }

  static func swift(_ words: Words, _ times: inout Times) -> Int {
    var table = times.measure("build") { build(words.added) }
    let sum = times.measure("look") { look(words.asked, table) }
    times.measure("drop") { table = [:] }
    return sum
  }

  @inline(never) static func build(_ words: [String]) -> [String: SwiftNode] {
    var table: [String: SwiftNode] = [:]
    for (key, word) in words.enumerated() {
      table.updateValue(SwiftNode(key: key, next: nil), forKey: word)
    }
    return table
  }

  @inline(never) static func look(_ words: [String], _ table: [String: SwiftNode]) -> Int {
    var sum = 0
    for word in words { if let node = table[word] { sum &+= node.key } }
    return sum
  }
}

// MARK: - Small containers

/// Containers of eight elements, one after the other: what an interpreter makes of them.
enum SmallWork {
  static func ours(_ count: Int, on heap: ManagedHeap, _ times: inout Times) -> Int {
    heap.withMutator { mutator in
      times.measure("lists") {
        (0..<count / 8).reduce(0) { sum, start in
          sum &+ ListWork.sum(list(start, mutator))
        }
      }
        &+ times.measure("tables") {
          (0..<count / 8).reduce(0) { sum, start in
            sum &+ NumberWork.all(table(start, mutator))
          }
        }
    }
  }

  @inline(never) static func list(_ start: Int, _ mutator: HeapMutator) -> HeapList<HeapRef<Node>> {
    ListWork.build(8, mutator)
  }

  @inline(never) static func table(_ start: Int, _ mutator: HeapMutator) -> NumberWork.Table {
    let table = NumberWork.Table(in: mutator)
    for key in start..<start + 8 {
      table.updateValue(mutator.allocate(Node(key: key, next: nil)), forKey: key, in: mutator)
    }
    return table
  }

  static func swift(_ count: Int, _ times: inout Times) -> Int {
    times.measure("lists") {
      (0..<count / 8).reduce(0) { sum, start in sum &+ ListWork.sum(ListWork.build(8)) }
    }
      &+ times.measure("tables") {
        (0..<count / 8).reduce(0) { sum, start in sum &+ NumberWork.all(table(start)) }
      }
  }

  @inline(never) static func table(_ start: Int) -> [Int: SwiftNode] {
    var table: [Int: SwiftNode] = [:]
    for key in start..<start + 8 {
      table.updateValue(SwiftNode(key: key, next: nil), forKey: key)
    }
    return table
  }
}
