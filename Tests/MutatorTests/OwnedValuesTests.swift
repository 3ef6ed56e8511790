// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Objects with fields that ARC manages: each such value ends once, after its object.
//
// A `Population` counts the instances that are alive; each `Counted…` instance is in one. So a value that
// is never destroyed leaves a count above zero, and one that is destroyed twice leaves one below (or
// crashes first: the runtime stops a program that releases a dead instance).

import CHeapShims
import Collector
import Heap
import Mutator
import Synchronization
import TestSupport
import Testing

/// How many instances are alive, and how many have ended.
final class Population: Sendable {
  let alive = Atomic(0)
  let ended = Atomic(0)

  var aliveCount: Int { alive.load(ordering: .acquiring) }
  var endedCount: Int { ended.load(ordering: .acquiring) }

  /// Waits until so many instances have ended.
  func awaitEnded(_ count: Int) -> Bool {
    let end = heap_now() + 60_000_000_000
    while endedCount < count {
      if heap_now() > end { return false }
      Event().wait(seconds: 0.0005)
    }
    return true
  }
}

/// An instance that is counted.
final class Citizen: Sendable {
  let population: Population
  let number: Int

  init(_ population: Population, number: Int = 0) {
    self.population = population
    self.number = number
    population.alive.add(1, ordering: .relaxed)
  }

  deinit {
    population.alive.subtract(1, ordering: .releasing)
    population.ended.add(1, ordering: .releasing)
  }
}

struct Keeping: HeapObject {
  var citizen: Citizen?
  var next: HeapRef<Keeping>?
  var key = 0
}

/// Everything that may be owned, mixed with references.
struct Mixed: HeapObject {
  var left: HeapRef<Mixed>?
  var name = ""
  var numbers: [Int] = []
  var citizen: Citizen?
  var right: HeapRef<Mixed>?
  var closure: (@Sendable () -> Int)?
  var any: any Sendable = 0
  var choice = Choice.none
  var pair: (text: String, link: HeapRef<Mixed>?) = ("", nil)
  var names = InlineArray<3, String>(repeating: "")
  var nested = Nested()

  struct Nested {
    var key = 0
    var tags: Set<String> = []
  }

  enum Choice {
    case none
    case text(String)
    case link(HeapRef<Mixed>)
    case both(HeapRef<Mixed>, Citizen)
  }
}

@Suite("Objects that own ARC values", .timeLimit(.minutes(5)))
struct OwnedValuesTests {
  /// A string that is too long to be stored in its own words.
  static func text(_ number: Int) -> String {
    "a text that needs memory of its own, number \(number)"
  }

  // MARK: - Ends

  @Test("what a dead object owns is destroyed once, and counted")
  func destroyedOnce() throws {
    let population = Population()
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      for number in 0..<1000 {
        _ = mutator.allocate(Keeping(citizen: Citizen(population, number: number)))
      }
    }
    #expect(population.aliveCount == 1000)
    HeapCheck.expectEmpty(heap)
    #expect(population.awaitEnded(1000))
    #expect(population.aliveCount == 0)
    let end = heap_now() + 20_000_000_000
    while heap.statistics.destroyedObjects < 1000, heap_now() < end {}
    #expect(heap.statistics.destroyedObjects == 1000)
    #expect(heap.statistics.freedObjects == 1000)
    heap.collect()
    #expect(heap.statistics.destroyedObjects == 1000, "nothing ends twice")
  }

  @Test("what lives keeps what it owns, through full and minor collections")
  func livingKeep() throws {
    let population = Population()
    let heap = try HeapCheck.pacedHeap { $0.stress.minorCycles = 3 }
    let kept = heap.withMutator { mutator in
      var list: HeapRef<Keeping>?
      for number in 0..<500 {
        list = mutator.allocate(
          Keeping(citizen: Citizen(population, number: number), next: list, key: number))
        _ = mutator.allocate(Keeping(citizen: Citizen(population)))
      }
      return HeapRoot(list, in: mutator)
    }
    for _ in 0..<8 { heap.collect() }
    #expect(population.awaitEnded(500))
    #expect(population.aliveCount == 500)
    heap.withMutator { mutator in
      var node = kept.get(in: mutator)
      var expected = 499
      while let holder = node {
        #expect(holder.citizen?.number == expected && holder.key == expected)
        expected -= 1
        node = holder.next
      }
      #expect(expected == -1)
      kept.set(nil, in: mutator)
    }
    heap.collect()
    #expect(population.awaitEnded(1000))
    #expect(population.aliveCount == 0)
  }

  @Test("when the heap ends, everything is destroyed that is left", arguments: StressMode.allCases)
  func heapEnds(_ mode: StressMode) throws {
    let population = Population()
    let count = mode.isSlow ? 100 : 5000
    do {
      let heap = try mode.heap()
      let root = heap.withMutator { mutator in
        var list: HeapRef<Keeping>?
        for number in 0..<count {
          let holder = mutator.allocate(Keeping(citizen: Citizen(population, number: number)))
          if number % 3 == 0 {
            holder.next = list
            list = holder
          }
        }
        return HeapRoot(list, in: mutator)
      }
      withExtendedLifetime(root) {}
    }
    #expect(population.aliveCount == 0)
    #expect(population.endedCount == count)
  }

  @Test("a value ends on a thread of the heap's own, and not attached")
  func ownThread() throws {
    final class Witness: Sendable {
      let event: Event
      let facts: Mutex<(thread: String, isAttached: Bool)>
      init(_ event: Event) {
        self.event = event
        facts = Mutex(("", false))
      }
    }
    final class Reporter: Sendable {
      let witness: Witness
      init(_ witness: Witness) { self.witness = witness }
      deinit {
        let name = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16) {
          buffer -> String in
          guard let start = buffer.baseAddress else { return "" }
          unsafe heap_thread_name_of(heap_thread_self(), start, 16)
          return unsafe String(cString: start)
        }
        witness.facts.withLock { $0 = (name, HeapMutator.current != nil) }
        witness.event.happen()
      }
    }
    struct Reported: HeapObject { var reporter: Reporter }
    let witness = Witness(Event())
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      for _ in 0..<10 { _ = mutator.allocate(Reported(reporter: Reporter(witness))) }
    }
    heap.collect()
    #expect(witness.event.wait())
    let facts = witness.facts.withLock { $0 }
    #expect(facts.thread == "heap-destroyer" && !facts.isAttached)
  }

  // MARK: - Stores

  @Test("storing into a field releases what it held, at once, and keeps what is stored")
  func fieldStores() throws {
    let population = Population()
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let holder = mutator.allocate(Keeping(citizen: Citizen(population, number: 1)))
      holder.citizen = Citizen(population, number: 2)
      #expect(population.aliveCount == 1 && population.endedCount == 1)
      let same = holder.citizen
      holder.citizen = same
      #expect(population.aliveCount == 1)
      holder.citizen = nil
      #expect(population.aliveCount == 1 && same?.number == 2, "the local keeps it")
      withExtendedLifetime(same) {}
    }
    #expect(population.aliveCount == 0)
  }

  @Test("replacing pointee releases every field's old value once", arguments: StressMode.allCases)
  func pointee(_ mode: StressMode) throws {
    let population = Population()
    let heap = try mode.heap()
    heap.withMutator { mutator in
      let other = mutator.allocate(Mixed(name: Self.text(1)))
      let mixed = mutator.allocate(Mixed(name: Self.text(2), citizen: Citizen(population)))
      for number in 0..<20 {
        let citizen = Citizen(population, number: number)
        mixed.pointee = Mixed(
          left: other, name: Self.text(number), numbers: [number, number + 1], citizen: citizen,
          right: mixed, closure: { citizen.number }, any: Citizen(population),
          choice: .both(other, Citizen(population)), pair: (Self.text(-number), other),
          names: [Self.text(1), "", Self.text(number)],
          nested: .init(key: number, tags: ["a", Self.text(number)]))
      }
      #expect(population.aliveCount == 3)
      let copy = mixed.pointee
      #expect(copy.name == Self.text(19) && copy.numbers == [19, 20] && copy.left == other)
      #expect(copy.closure?() == 19 && copy.pair == (Self.text(-19), other))
      #expect(copy.names[2] == Self.text(19) && copy.nested.tags.contains(Self.text(19)))
      mixed.pointee = Mixed()
      guard case .both(let link, _) = copy.choice else { return #expect(Bool(false)) }
      #expect(link == other && population.aliveCount == 3, "the copy keeps them")
    }
    #expect(population.aliveCount == 0)
  }

  @Test("every kind of field that ARC manages is read and stored", arguments: StressMode.allCases)
  func kinds(_ mode: StressMode) throws {
    let population = Population()
    do {
      let heap = try mode.heap()
      heap.withMutator { mutator in
        let mixed = mutator.allocate(Mixed())
        for number in 0..<(mode.isSlow ? 5 : 200) {
          let other = mutator.allocate(Mixed(name: Self.text(number)))
          mixed.name += "x"
          mixed.numbers = mixed.numbers + [number]
          mixed.citizen = Citizen(population, number: number)
          let captured = Citizen(population, number: number)
          mixed.closure = { captured.number }
          mixed.any = Citizen(population, number: number)
          mixed.choice =
            number % 2 == 0 ? .both(other, Citizen(population)) : .text(Self.text(number))
          mixed.pair = (Self.text(number), other)
          mixed[\.names, number % 3] = Self.text(number)
          mixed.nested.tags = [Self.text(number)]
          mixed.left = other
          mutator.collect()
          #expect(mixed.name.count == number + 1 && mixed.numbers.count == number + 1)
          #expect(mixed.citizen?.number == number && mixed.closure?() == number)
          #expect((mixed.any as? Citizen)?.number == number)
          #expect(mixed[\.names, number % 3] == Self.text(number))
          #expect(
            mixed.pair.text == Self.text(number) && mixed.pair.link?.name == Self.text(number))
          switch mixed.choice {
          case .text(let text): #expect(number % 2 == 1 && text == Self.text(number))
          case .both(let link, _): #expect(number % 2 == 0 && link.name == Self.text(number))
          default: #expect(Bool(false))
          }
          #expect(mixed.left?.name == Self.text(number))
        }
      }
    }
    #expect(population.aliveCount == 0)
  }

  @Test("reference fields beside owned ones have their atomic operations")
  func atomics() throws {
    let population = Population()
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let first = mutator.allocate(Keeping(citizen: Citizen(population, number: 1)))
      let second = mutator.allocate(Keeping(citizen: Citizen(population, number: 2)))
      #expect(first.exchange(\.next, second, ordering: .acquiringAndReleasing) == nil)
      #expect(first.load(\.next, ordering: .acquiring)?.citizen?.number == 2)
      let (done, _) = first.compareExchange(
        \.next, expected: second, desired: nil, ordering: .acquiringAndReleasing)
      #expect(done && first.citizen?.number == 1 && population.aliveCount == 2)
    }
  }

  @Test("a field of an unowned reference is read and stored with the whole object")
  func unownedFields() throws {
    struct Pointing: HeapObject {
      unowned var citizen: Citizen
      var text: String
    }
    let population = Population()
    let (first, second) = (Citizen(population, number: 1), Citizen(population, number: 2))
    let heap = try HeapCheck.pacedHeap()
    heap.withMutator { mutator in
      let pointing = mutator.allocate(Pointing(citizen: first, text: Self.text(1)))
      #expect(pointing.citizen.number == 1)
      pointing.citizen = second
      #expect(pointing.citizen.number == 2 && pointing.text == Self.text(1))
    }
    withExtendedLifetime((first, second)) {}
  }

  // MARK: - Large objects

  @Test("a large object's values are destroyed, and so are those of one that lives at the end")
  func largeObjects() throws {
    struct Large: HeapObject {
      var link: HeapRef<Large>?
      var citizens: InlineArray<6000, Citizen?>
    }
    let population = Population()
    do {
      let heap = try HeapCheck.pacedHeap()
      let root = heap.withMutator { mutator in
        let large = mutator.allocate(
          Large(link: nil, citizens: InlineArray(repeating: Citizen(population))))
        large[\.citizens, 17] = Citizen(population)
        for _ in 0..<3 {
          _ = mutator.allocate(
            Large(link: large, citizens: InlineArray { _ in Citizen(population) }))
        }
        return HeapRoot(large, in: mutator)
      }
      heap.collect()
      #expect(population.awaitEnded(18000))
      #expect(population.aliveCount == 2)
      withExtendedLifetime(root) {}
    }
    #expect(population.aliveCount == 0)
  }

  // MARK: - Many

  @Test("a million objects leave nothing behind")
  func million() throws {
    let population = Population()
    do {
      let heap = try HeapCheck.pacedHeap { $0.checks = .off }
      heap.withMutator { mutator in
        for number in 0..<1_000_000 {
          _ = mutator.allocate(Keeping(citizen: Citizen(population, number: number)))
        }
      }
      #expect(heap.statistics.cycleCount > 0)
    }
    #expect(population.aliveCount == 0)
    #expect(population.endedCount == 1_000_000)
  }

  @Test("random graphs on several threads: each value ends once", arguments: StressMode.allCases)
  func randomGraphs(_ mode: StressMode) throws {
    let population = Population()
    let made = Atomic(0)
    do {
      let heap = try mode.heap()
      onThreads(3) { thread in
        var random = RandomNumbers(seed: UInt64(thread) + 1)
        let roots = heap.withMutator { mutator in
          (0..<8).map { _ in HeapRoot<HeapRef<Mixed>?>(nil, in: mutator) }
        }
        for _ in 0..<4 {
          heap.withMutator { mutator in
            for _ in 0..<(mode.isSlow ? 40 : 4000) {
              Self.step(mutator, roots, &random, population, made)
            }
          }
        }
      }
      HeapCheck.expectSound(heap)
    }
    #expect(population.aliveCount == 0)
    #expect(population.endedCount == made.load(ordering: .relaxed))
  }

  /// One random change of a graph that hangs from roots.
  private static func step(
    _ mutator: HeapMutator, _ roots: [HeapRoot<HeapRef<Mixed>?>], _ random: inout RandomNumbers,
    _ population: Population, _ made: borrowing Atomic<Int>
  ) {
    func citizen() -> Citizen {
      made.add(1, ordering: .relaxed)
      return Citizen(population)
    }
    let root = roots[Int.random(in: 0..<roots.count, using: &random)]
    let other = roots[Int.random(in: 0..<roots.count, using: &random)].get(in: mutator)
    guard let node = root.get(in: mutator) else {
      return root.set(mutator.allocate(Mixed(left: other, citizen: citizen())), in: mutator)
    }
    switch Int.random(in: 0..<10, using: &random) {
    case 0: root.set(nil, in: mutator)
    case 1: root.set(node.left ?? node.right, in: mutator)
    case 2: node.citizen = citizen()
    case 3: node.choice = other.map { .both($0, citizen()) } ?? .text(text(1))
    case 4: node.any = citizen()
    case 5: node.pointee = Mixed(left: other, name: text(2), citizen: citizen(), right: node)
    case 6: node.right = other
    case 7: node.pair = (text(3), other)
    case 8:
      let captured = citizen()
      node.closure = { captured.number }
    default:
      root.set(
        mutator.allocate(
          Mixed(left: node, name: text(4), citizen: citizen(), right: other)), in: mutator)
    }
  }
}
