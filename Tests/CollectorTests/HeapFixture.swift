// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What the tests of the collector stand on: a heap whose types are made by hand, and threads
// that allocate and store in it as the inlined code of a program would.
//
// A `Program` is an attached thread. Its stack is not scanned unless a test asks for it: then
// root slots and objects are the only references there are, and what lives is exact. The price
// is that an address in a local must not be kept over a safepoint (an allocation, a poll).
//
// A test can be the collector itself: `Program.collecting` puts the thread into a blocking
// region, where the steps of a cycle answer for it.
//
//   node    40 bytes  0: left   8: right   16: value   24: an ambiguous word   32: unused
//   leaf    32 bytes  no references
//   array   a count, then references
//   bytes   a count, then bytes: no references

import CHeapShims
import Collector
import Glibc
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

/// A heap with four types.
final class HeapFixture: Sendable {
  let heap: CollectedHeap
  let node: HeapLayout
  let leaf: HeapLayout
  let array: HeapLayout
  let bytes: HeapLayout

  /// Where a node's fields are.
  static let left = 0
  static let right = 8
  static let value = 16
  static let ambiguous = 24

  /// A heap that collects only when it is told to, unless `change` says otherwise. The rest is as
  /// the environment says, but for what the test sets itself (Scripts/check-modes.sh).
  ///
  /// The environment does not make allocations collect: a test that is the collector itself allows no
  /// other one.
  init(_ change: (inout CollectorOptions) -> Void = { _ in }) throws {
    var options = CollectorOptions(.fromEnvironment())
    options.percent = nil
    options.stress.collectEvery = nil
    change(&options)
    heap = try CollectedHeap(options)
    node = try heap.register(
      .init(kind: .object, size: 40, alignment: 8, references: [0, 8], ambiguous: [24]),
      name: "Node")
    leaf = try heap.register(
      .init(kind: .object, size: 32, alignment: 8, references: []), name: "Leaf")
    array = try heap.register(
      .init(kind: .array, size: 8, alignment: 8, elementsOffset: 8, references: [0]),
      name: "Array")
    bytes = try heap.register(
      .init(kind: .array, size: 1, alignment: 1, elementsOffset: 8, references: []),
      name: "Bytes")
  }

  deinit { heap.shutDown() }

  // MARK: - Programs

  /// Runs `body` with the calling thread attached, and its stack out of the game.
  func attached<Result>(_ body: (Program) throws -> Result) rethrows -> Result {
    let program = Program(fixture: self, mutator: heap.attach(stackBase: 0))
    defer { heap.detach(program.mutator) }
    return try body(program)
  }

  /// Runs `body` with the calling thread attached, and its frames scanned.
  func attachedWithStack(_ body: (Program) -> Void) {
    let program = Program(fixture: self, mutator: heap.attach())
    body(program)
    heap.detach(program.mutator)
  }

  // MARK: - Looking

  /// The shelf of a layout in a class.
  func shelf(_ layout: HeapLayout, in sizeClass: SizeClass) -> SpanShelf {
    guard let shelf = try? heap.central.shelf(for: layout, in: sizeClass) else {
      broken("no memory for a shelf")
    }
    return shelf
  }

  func shelf(_ layout: HeapLayout) -> SpanShelf {
    shelf(layout, in: SizeClass.of(size: Int(layout.size)) ?? .large)
  }

  /// Every allocated slot of a layout. After a collection with no run in a cache: every object.
  func objects(of layout: HeapLayout) -> Set<UInt> {
    var found = Set<UInt>()
    heap.forEachSpan { span in
      guard span.layout == layout else { return }
      for slot in 0..<span.slotCount where span.isAllocated(slot) {
        found.insert(span.address(ofSlot: slot))
      }
    }
    return found
  }

  /// What the root slots reach: a traversal without marks, queues or barriers.
  func reachable(from more: [UInt] = []) -> Set<UInt> {
    var found = Set<UInt>()
    var work = heap.roots.references + more
    while let object = work.popLast() {
      guard found.insert(object).inserted,
        let (span, _) = HeapSpan.lookUp(object, owner: heap.pageHeap.owner)
      else { continue }
      heap.verifier.forEachReference(of: object, span.layout) { work.append($1) }
    }
    return found
  }

  /// What is wrong with the heap.
  var problems: [String] {
    var found: [String] = []
    heap.checkInvariants { found.append($0) }
    return found
  }

  /// The span and slot of an allocated address.
  func place(of address: UInt) -> (span: HeapSpan, slot: Int)? {
    HeapSpan.lookUp(address, owner: heap.pageHeap.owner)
  }

  func isMarked(_ address: UInt) -> Bool {
    place(of: address).map { $0.span.isMarked($0.slot) } ?? false
  }

  /// Marks and allocation bits as figures: bytes and objects marked now.
  var counted: (bytes: Int, objects: Int) {
    (
      heap.counters.markedBytes.load(ordering: .relaxed),
      heap.counters.markedObjects.load(ordering: .relaxed)
    )
  }
}

/// The steps of a cycle and the rooms of a heap, as the tests call them.
extension CollectedHeap {
  func finishSweeping() { cycle.finishSweeping() }
  func beginMarking(_ kind: CycleKind = .full) { cycle.beginMarking(kind, forced: true) }
  func scanCards(_ kind: CycleKind) { cycle.scanCards(kind) }
  func raiseBarrier() { cycle.raiseBarrier() }
  func scanStacksAndRoots() { cycle.scanStacksAndRoots() }
  func drain() { cycle.drain() }
  func terminateMarking() { cycle.terminateMarking() }
  func settle(_ kind: CycleKind = .full) { cycle.settle(kind) }
  func lowerBarrier() { cycle.lowerBarrier() }
  func advanceGeneration(_ kind: CycleKind = .full) { cycle.advanceGeneration(kind) }
  func verify() { verifier.verify() }
  func requestCycle() { requests.request() }
  func forEachSpan(_ body: (HeapSpan) -> Void) { verifier.forEachSpan(body) }

  var generation: Generation {
    Generation(bits: unsafe words.pointee.generation.load(ordering: .relaxed))
  }

  /// What mutators have taken, in bytes and slots.
  var taken: (bytes: Int, slots: Int) {
    let figures = figures
    return (figures.allocatedBytes, figures.allocatedObjects)
  }

  /// What was freed, in bytes and slots.
  var freed: (bytes: Int, slots: Int) {
    let figures = figures
    return (figures.freedBytes, figures.freedObjects)
  }
}

/// A thread that is attached to a fixture's heap.
struct Program {
  let fixture: HeapFixture
  let mutator: AttachedMutator
  var heap: CollectedHeap { fixture.heap }

  // MARK: - Allocating

  /// The cache's key of a layout in a class: any word that no other pair has.
  static func key(_ layout: HeapLayout, _ sizeClass: SizeClass) -> UInt {
    layout.address | (UInt(sizeClass.number) + 1) << 48
  }

  /// A slot of a class; nil when there is no memory.
  func take(_ layout: HeapLayout, in sizeClass: SizeClass) -> UInt? {
    unsafe heap.allocator.takeSlot(mutator, entry(layout, in: sizeClass))
  }

  /// The cache's entry of a layout in a class.
  func entry(
    _ layout: HeapLayout, in sizeClass: SizeClass
  ) -> UnsafeMutablePointer<CacheEntry> {
    let key = Self.key(layout, sizeClass)
    let state = unsafe mutator.state
    if let entry = unsafe state.pointee.cache.find(key) { return unsafe entry }
    return unsafe state.pointee.cache.add(
      key, shelf: fixture.shelf(layout, in: sizeClass), slotSize: sizeClass.slotSize)
  }

  func tryNode(value: UInt = 0) -> UInt? {
    guard let node = take(fixture.node, in: Self.nodeClass) else { return nil }
    initialize(node, HeapFixture.value, value)
    return node
  }

  func makeNode(value: UInt = 0) -> UInt {
    guard let node = tryNode(value: value) else { broken("no memory for a node") }
    return node
  }

  static let nodeClass = SizeClass.of(size: 40) ?? .large
  static let leafClass = SizeClass.of(size: 32) ?? .large

  func makeLeaf() -> UInt {
    guard let leaf = take(fixture.leaf, in: Self.leafClass) else { broken("no memory for a leaf") }
    return leaf
  }

  /// An array of references or bytes of any length, small or large.
  func tryArray(_ layout: HeapLayout, count: Int) -> UInt? {
    guard let size = layout.arraySize(count: count) else { return nil }
    let sizeClass = SizeClass.of(size: size) ?? .large
    let place =
      sizeClass.isLarge
      ? heap.allocator.takeLarge(mutator, shelf: fixture.shelf(layout, in: .large), size: size)
      : take(layout, in: sizeClass)
    guard let place else { return nil }
    initialize(place, 0, UInt(count))
    return place
  }

  /// An object of any layout, small or large.
  func makeObject(_ layout: HeapLayout) -> UInt {
    let size = Int(layout.size)
    let object =
      if let sizeClass = SizeClass.of(size: size) {
        take(layout, in: sizeClass)
      } else {
        heap.allocator.takeLarge(mutator, shelf: fixture.shelf(layout, in: .large), size: size)
      }
    guard let object else { broken("no memory for an object of \(size) bytes") }
    return object
  }

  func makeArray(count: Int) -> UInt {
    guard let array = tryArray(fixture.array, count: count) else {
      broken("no memory for an array")
    }
    return array
  }

  func makeBytes(count: Int) -> UInt {
    guard let bytes = tryArray(fixture.bytes, count: count) else { broken("no memory for bytes") }
    return bytes
  }

  // MARK: - Using

  /// A store into an object that nobody else knows yet.
  func initialize(_ object: UInt, _ offset: Int, _ word: UInt) {
    // SAFETY: a slot that the thread has just taken.
    unsafe UnsafeMutablePointer<Atomic<UInt>>(bitPattern: object + UInt(offset))
      .unsafelyUnwrapped.pointee.store(word, ordering: .relaxed)
  }

  /// A reference store, as the inlined code of a program does it.
  func store(_ new: UInt, into object: UInt, _ offset: Int) {
    let slot = object + UInt(offset)
    if heap_barrier_is_up() {
      WriteBarrier.record(slot: slot, new: new)
    } else {
      heap_card_mark(slot)
    }
    // SAFETY: a reference word of an object.
    unsafe UnsafeMutablePointer<Atomic<UInt>>(bitPattern: slot)
      .unsafelyUnwrapped.pointee.store(new, ordering: .releasing)
  }

  func load(_ object: UInt, _ offset: Int) -> UInt { heap_load_word(object + UInt(offset)) }

  func root(_ reference: UInt) -> RootSlot { heap.roots.make(reference) }
  func set(_ slot: RootSlot, _ reference: UInt) { heap.roots.set(slot, to: reference) }
  func drop(_ slot: RootSlot) { heap.roots.drop(slot) }

  func poll() { Safepoints.answer() }

  /// References in the barrier buffer.
  var recorded: Int { unsafe mutator.state.pointee.barrier.count }

  // MARK: - Being the collector

  /// Runs steps of a cycle on this thread, which answers from a blocking region.
  func collecting(_ steps: () -> Void) { CollectedHeap.blocking(steps) }

  /// Steps 1 to 3: from here on the program runs while the heap is being marked.
  func beginCycle(_ kind: CycleKind = .full) {
    collecting {
      heap.finishSweeping()
      if kind == .minor { heap.verifier.verifyCards() }
      heap.beginMarking(kind)
      heap.raiseBarrier()
      heap.scanCards(kind)
      heap.scanStacksAndRoots()
    }
  }

  /// Steps 5 to 8, with the verifier.
  func endCycle(_ kind: CycleKind = .full) {
    collecting {
      heap.terminateMarking()
      heap.settle(kind)
      heap.lowerBarrier()
      heap.verify()
      heap.advanceGeneration(kind)
      heap.finishSweeping()
    }
  }

  /// A whole cycle on this thread.
  func cycle(_ kind: CycleKind = .full) {
    beginCycle(kind)
    endCycle(kind)
  }

  /// A list of nodes, `values` in it, the first one returned; valid until the next safepoint.
  func makeList(_ values: ClosedRange<UInt>) -> RootSlot {
    let head = root(0)
    for value in values.reversed() {
      let node = makeNode(value: value)
      initialize(node, HeapFixture.left, head.reference)
      set(head, node)
    }
    return head
  }

  /// The values of a list.
  func values(of list: RootSlot) -> [UInt] {
    var found: [UInt] = []
    var next = list.reference
    while next != 0 {
      found.append(load(next, HeapFixture.value))
      next = load(next, HeapFixture.left)
    }
    return found
  }
}

extension HeapSpan {
  /// Takes the next run, if there is one.
  func takeRun(atMost limit: Int = .max) -> SlotRange? {
    guard let run = nextRun(atMost: limit) else { return nil }
    take(run)
    return run
  }
}
