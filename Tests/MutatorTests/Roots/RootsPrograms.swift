// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The programs of Documentation/Roots.md, one function each: first the one that keeps a reference
// where the collector does not look, then the one that is right. RootsTests runs them, and holds
// the document's snippets to this file, line by line.

import Glibc
import Mutator

/// The programs.
///
/// None is inlined: what they leave behind on the stack must not be in the frame of a caller.
enum RootsPrograms {
  // MARK: - What the programs share

  struct Node: HeapObject {
    var next: HeapRef<Node>?
    var key = 0
  }

  final class Document {
    var top: HeapRef<Node>?
    func load(in mutator: HeapMutator) { top = mutator.allocate(Node(key: 1)) }
  }

  final class RootedDocument {
    let top: HeapRoot<HeapRef<Node>?>
    init(in mutator: HeapMutator) { top = HeapRoot(nil, in: mutator) }
    func load(in mutator: HeapMutator) { top.set(mutator.allocate(Node(key: 1)), in: mutator) }
  }

  nonisolated(unsafe) static var latest: HeapRef<Node>?

  nonisolated(unsafe) static var latestRoot: HeapRoot<HeapRef<Node>>?

  protocol Shape {
    var node: HeapRef<Node> { get }
  }

  struct Box: Shape {
    var node: HeapRef<Node>
    var size = (1, 2, 3)
  }

  indirect enum Chain {
    case end
    case link(HeapRef<Node>, Chain)
  }

  enum Value {
    case box(Box)
    case number(Int)
  }

  enum List {
    case end
    case link(HeapRef<Node>, HeapRef<Rest>)
  }

  struct Rest: HeapObject {
    var list: List
  }

  struct NotFound: Error, @unchecked Sendable {
    var nearest: HeapRef<Node>
  }

  struct Cursor {
    var node: HeapRef<Node>
    var place = (0, 0, 0, 0)

    mutating func advance(in mutator: HeapMutator) {
      work(in: mutator)
      node = mutator.allocate(Node(next: node, key: 2))
    }
  }

  protocol Window: AnyObject {
    var cursor: Cursor { get set }
  }

  /// Makes its cursor when it is asked for it.
  final class LazyWindow: Window {
    let mutator: HeapMutator
    init(_ mutator: HeapMutator) { self.mutator = mutator }

    var cursor: Cursor {
      get { Cursor(node: mutator.allocate(Node(key: 1))) }
      set {}
    }
  }

  // MARK: - Collections

  @inline(never)
  static func array(in mutator: HeapMutator) {
    var nodes: [HeapRef<Node>] = []
    for key in 0..<4 { nodes.append(mutator.allocate(Node(key: key))) }
    let list = mutator.allocate(Node(next: nodes[0]))
    use(list)
  }

  @inline(never)
  static func arrayRight(in mutator: HeapMutator) {
    let nodes = mutator.allocateArray(of: HeapRef<Node>?.self, count: 4, repeating: nil)
    for key in nodes.indices { nodes[key] = mutator.allocate(Node(key: key)) }
    let list = mutator.allocate(Node(next: nodes[0]))
    use(list)
  }

  @inline(never)
  static func dictionary(in mutator: HeapMutator) {
    var named: [String: HeapRef<Node>] = [:]
    for name in ["a", "b", "c"] { named[name] = mutator.allocate(Node()) }
    let list = mutator.allocate(Node(next: named["a"]))
    use(list)
  }

  @inline(never)
  static func dictionaryRight(in mutator: HeapMutator) {
    var named: [String: HeapRoot<HeapRef<Node>>] = [:]
    for name in ["a", "b", "c"] { named[name] = HeapRoot(mutator.allocate(Node()), in: mutator) }
    let list = mutator.allocate(Node(next: named["a"]?.get(in: mutator)))
    use(list)
  }

  // MARK: - Classes and globals

  @inline(never)
  static func classProperty(_ document: Document, in mutator: HeapMutator) {
    document.load(in: mutator)
    work(in: mutator)
    use(mutator.allocate(Node(next: document.top)))
  }

  @inline(never)
  static func classPropertyRight(_ document: RootedDocument, in mutator: HeapMutator) {
    document.load(in: mutator)
    work(in: mutator)
    use(mutator.allocate(Node(next: document.top.get(in: mutator))))
  }

  @inline(never)
  static func loadLatest(in mutator: HeapMutator) {
    unsafe latest = mutator.allocate(Node(key: 1))
  }

  @inline(never)
  static func global(in mutator: HeapMutator) {
    loadLatest(in: mutator)
    work(in: mutator)
    use(mutator.allocate(unsafe Node(next: latest)))
  }

  @inline(never)
  static func loadLatestRoot(in mutator: HeapMutator) {
    unsafe latestRoot = HeapRoot(mutator.allocate(Node(key: 1)), in: mutator)
  }

  @inline(never)
  static func globalRight(in mutator: HeapMutator) {
    loadLatestRoot(in: mutator)
    work(in: mutator)
    use(mutator.allocate(unsafe Node(next: latestRoot?.get(in: mutator))))
  }

  @inline(never)
  static func fill(_ place: UnsafeMutablePointer<HeapRef<Node>>, in mutator: HeapMutator) {
    unsafe place.initialize(to: mutator.allocate(Node(key: 1)))
  }

  @inline(never)
  static func ownMemory(in mutator: HeapMutator) {
    let place = UnsafeMutablePointer<HeapRef<Node>>.allocate(capacity: 1)
    unsafe fill(place, in: mutator)
    work(in: mutator)
    use(mutator.allocate(unsafe Node(next: place.pointee)))
  }

  @inline(never)
  static func ownMemoryRight(in mutator: HeapMutator) {
    let place = mutator.allocateArray(of: HeapRef<Node>?.self, count: 1, repeating: nil)
    place[0] = mutator.allocate(Node(key: 1))
    work(in: mutator)
    use(mutator.allocate(Node(next: place[0])))
  }

  // MARK: - Variadic parameters

  @inline(never)
  static func make(_ key: Int, in mutator: HeapMutator) -> HeapRef<Node> {
    mutator.allocate(Node(key: key))
  }

  @inline(never)
  static func link(in mutator: HeapMutator, _ nodes: HeapRef<Node>...) {
    work(in: mutator)
    for node in nodes { use(mutator.allocate(Node(next: node))) }
  }

  @inline(never)
  static func variadic(in mutator: HeapMutator) {
    link(in: mutator, make(1, in: mutator), make(2, in: mutator))
  }

  @inline(never)
  static func linkRight<let count: Int>(
    in mutator: HeapMutator, _ nodes: InlineArray<count, HeapRef<Node>>
  ) {
    work(in: mutator)
    for index in nodes.indices { use(mutator.allocate(Node(next: nodes[index]))) }
  }

  @inline(never)
  static func variadicRight(in mutator: HeapMutator) {
    linkRight(in: mutator, [make(1, in: mutator), make(2, in: mutator)])
  }

  // MARK: - Closures

  @inline(never)
  static func linker(in mutator: HeapMutator) -> (HeapRef<Node>) -> Void {
    let first = mutator.allocate(Node(key: 1))
    return { $0.next = first }
  }

  @inline(never)
  static func closure(in mutator: HeapMutator) {
    let link = linker(in: mutator)
    work(in: mutator)
    link(mutator.allocate(Node(key: 2)))
  }

  @inline(never)
  static func linkerRight(in mutator: HeapMutator) -> (HeapRef<Node>) -> Void {
    let first = HeapRoot(mutator.allocate(Node(key: 1)), in: mutator)
    return { $0.next = first.get(in: mutator) }
  }

  @inline(never)
  static func closureRight(in mutator: HeapMutator) {
    let link = linkerRight(in: mutator)
    work(in: mutator)
    link(mutator.allocate(Node(key: 2)))
  }

  /// A mistake in debug builds only.
  @inline(never)
  static func nestedFunction(in mutator: HeapMutator) {
    var first: HeapRef<Node>?
    func load() { first = mutator.allocate(Node(key: 1)) }
    load()
    work(in: mutator)
    use(mutator.allocate(Node(next: first)))
  }

  @inline(never)
  static func nestedFunctionRight(in mutator: HeapMutator) {
    var first: HeapRef<Node>?
    func load(_ node: inout HeapRef<Node>?) { node = mutator.allocate(Node(key: 1)) }
    load(&first)
    work(in: mutator)
    use(mutator.allocate(Node(next: first)))
  }

  // MARK: - Boxes

  @inline(never)
  static func makeShape(in mutator: HeapMutator) -> any Shape {
    Box(node: mutator.allocate(Node(key: 1)))
  }

  @inline(never)
  static func existential(in mutator: HeapMutator) {
    let shape = makeShape(in: mutator)
    work(in: mutator)
    use(mutator.allocate(Node(next: shape.node)))
  }

  @inline(never)
  static func makeBox(in mutator: HeapMutator) -> some Shape {
    Box(node: mutator.allocate(Node(key: 1)))
  }

  @inline(never)
  static func existentialRight(in mutator: HeapMutator) {
    let shape = makeBox(in: mutator)
    work(in: mutator)
    use(mutator.allocate(Node(next: shape.node)))
  }

  @inline(never)
  static func makeAny(in mutator: HeapMutator) -> Any {
    Box(node: mutator.allocate(Node(key: 1)))
  }

  @inline(never)
  static func any(in mutator: HeapMutator) {
    let value = makeAny(in: mutator)
    work(in: mutator)
    if let box = value as? Box { use(mutator.allocate(Node(next: box.node))) }
  }

  @inline(never)
  static func makeValue(in mutator: HeapMutator) -> Value {
    .box(Box(node: mutator.allocate(Node(key: 1))))
  }

  @inline(never)
  static func anyRight(in mutator: HeapMutator) {
    let value = makeValue(in: mutator)
    work(in: mutator)
    if case .box(let box) = value { use(mutator.allocate(Node(next: box.node))) }
  }

  @inline(never)
  static func makeChain(in mutator: HeapMutator) -> Chain {
    .link(mutator.allocate(Node(key: 1)), .end)
  }

  @inline(never)
  static func indirectEnum(in mutator: HeapMutator) {
    let chain = makeChain(in: mutator)
    work(in: mutator)
    if case .link(let node, _) = chain { use(mutator.allocate(Node(next: node))) }
  }

  @inline(never)
  static func makeList(in mutator: HeapMutator) -> List {
    .link(mutator.allocate(Node(key: 1)), mutator.allocate(Rest(list: .end)))
  }

  @inline(never)
  static func indirectEnumRight(in mutator: HeapMutator) {
    let chain = makeList(in: mutator)
    work(in: mutator)
    if case .link(let node, _) = chain { use(mutator.allocate(Node(next: node))) }
  }

  @inline(never)
  static func find(in mutator: HeapMutator) throws {
    throw NotFound(nearest: mutator.allocate(Node(key: 1)))
  }

  @inline(never)
  static func error(in mutator: HeapMutator) {
    do {
      try find(in: mutator)
    } catch {
      work(in: mutator)
      use(mutator.allocate(Node(next: (error as? NotFound)?.nearest)))
    }
  }

  @inline(never)
  static func findRight(in mutator: HeapMutator) throws(NotFound) {
    throw NotFound(nearest: mutator.allocate(Node(key: 1)))
  }

  @inline(never)
  static func errorRight(in mutator: HeapMutator) {
    do throws(NotFound) {
      try findRight(in: mutator)
    } catch {
      work(in: mutator)
      use(mutator.allocate(Node(next: error.nearest)))
    }
  }

  // MARK: - Accessors

  @inline(never)
  static func accessor(_ window: any Window, in mutator: HeapMutator) {
    window.cursor.advance(in: mutator)
  }

  @inline(never)
  static func accessorRight(_ window: any Window, in mutator: HeapMutator) {
    var cursor = window.cursor
    cursor.advance(in: mutator)
    window.cursor = cursor
  }

  // MARK: - Between two calls

  @inline(never)
  static func task(_ heap: ManagedHeap) async {
    var first: HeapRef<Node>?
    heap.withMutator { first = $0.allocate(Node(key: 1)) }
    await Task.yield()
    heap.withMutator { work(in: $0) }
    heap.withMutator { use($0.allocate(Node(next: first))) }
  }

  @inline(never)
  static func taskRight(_ heap: ManagedHeap) async {
    let first = heap.withMutator { HeapRoot($0.allocate(Node(key: 1)), in: $0) }
    await Task.yield()
    heap.withMutator { use($0.allocate(Node(next: first.get(in: $0)))) }
  }

  @inline(never)
  static func asyncCapture(_ heap: ManagedHeap) async {
    var first: HeapRef<Node>?
    let load = { () async in heap.withMutator { first = $0.allocate(Node(key: 1)) } }
    await load()
    heap.withMutator { work(in: $0) }
    heap.withMutator { use($0.allocate(Node(next: first))) }
  }

  @inline(never)
  static func asyncCaptureRight(_ heap: ManagedHeap) async {
    let load = { () async in heap.withMutator { HeapRoot($0.allocate(Node(key: 1)), in: $0) } }
    let first = await load()
    heap.withMutator { work(in: $0) }
    heap.withMutator { use($0.allocate(Node(next: first.get(in: $0)))) }
  }

  @inline(never)
  static func between(_ heap: ManagedHeap) {
    var first: HeapRef<Node>?
    heap.withMutator { first = $0.allocate(Node(key: 1)) }
    heap.collect()
    heap.withMutator { use($0.allocate(Node(next: first))) }
  }

  @inline(never)
  static func betweenRight(_ heap: ManagedHeap) {
    let first = heap.withMutator { HeapRoot($0.allocate(Node(key: 1)), in: $0) }
    heap.collect()
    heap.withMutator { use($0.allocate(Node(next: first.get(in: $0)))) }
  }

  // MARK: - Other work

  /// Stands for anything that allocates: a collection may take place here.
  ///
  /// No more than two calls, so that its own frame covers little of what the calls before have left
  /// behind.
  @inline(never)
  static func work(in mutator: HeapMutator) {
    scrub()
    allocate(in: mutator)
  }

  @inline(never)
  static func allocate(in mutator: HeapMutator) {
    for key in 0..<3 { use(mutator.allocate(Node(key: key))) }
  }

  /// Overwrites what other calls have left behind on the stack, which the collector would find.
  @inline(never)
  static func scrub() {
    var words = InlineArray<1024, Int>(repeating: 0)
    // Not to be left out by an optimised build, as other stores to a local may be.
    unsafe withUnsafeMutableBytes(of: &words) { bytes in
      if let start = bytes.baseAddress { unsafe explicit_bzero(start, bytes.count) }
    }
  }

  /// Keeps the compiler from leaving out what a program makes.
  @inline(never)
  static func use(_ node: HeapRef<Node>) {
    if node.key < 0 { print(node) }
  }
}
