// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Who is attached: entering and leaving heaps, nested and in the midst of a cycle.

import Collector
import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Attaching")
struct MutatorRegistryTests {
  @Test("the innermost mutator is the current one, and each heap finds its own")
  func nesting() throws {
    let (a, b) = try (HeapFixture(), HeapFixture())
    #expect(AttachedMutator.current == nil && a.heap.attachedMutator == nil)
    a.attached { outer in
      #expect(AttachedMutator.current == outer.mutator)
      #expect(b.heap.attachedMutator == nil)
      b.attached { inner in
        #expect(AttachedMutator.current == inner.mutator)
        #expect(a.heap.attachedMutator == outer.mutator)
        #expect(b.heap.attachedMutator == inner.mutator)
        #expect(inner.mutator.enclosing == outer.mutator && outer.mutator.enclosing == nil)
        #expect(inner.mutator.belongs(to: b.heap) && !inner.mutator.belongs(to: a.heap))
      }
      #expect(AttachedMutator.current == outer.mutator)
      #expect(a.heap.attachedCount == 1 && b.heap.attachedCount == 0)
    }
    #expect(AttachedMutator.current == nil)
  }

  @Test("being attached is the thread's own")
  func perThread() throws {
    let fixture = try HeapFixture()
    fixture.attached { _ in
      TestThread {
        require(AttachedMutator.current == nil, "another thread's mutator is seen")
        fixture.attached { _ in require(fixture.heap.attachedCount == 2, "two are attached") }
      }.join()
      #expect(fixture.heap.attachedCount == 1)
    }
  }

  @Test("leaving heaps in another order than the reverse one stops the program")
  func wrongOrder() async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let (a, b) = try (HeapFixture(), HeapFixture())
      let outer = a.heap.attach(stackBase: 0)
      _ = b.heap.attach(stackBase: 0)
      a.heap.detach(outer)
    }
    #expect(result.said("in the reverse order"))
  }

  @Test("a thread goes on in the run that it left")
  func handingOn() throws {
    let fixture = try HeapFixture()
    let shelf = fixture.shelf(fixture.node)
    let first = fixture.attached { $0.makeNode() }
    #expect(fixture.heap.attachedCount == 0 && fixture.heap.taken.slots == 1)
    let second = fixture.attached { $0.makeNode() }
    #expect(second == first + 48)
    #expect(shelf.spanCount == 1)
    #expect(fixture.heap.taken.slots == 2 && fixture.heap.taken.bytes == 96)
    #expect(fixture.problems.isEmpty)
  }

  @Test("a mutator that a thread has left is no other thread's")
  func noHandingOver() throws {
    let fixture = try HeapFixture()
    let first = fixture.attached { $0.mutator }
    TestThread {
      fixture.attached { require($0.mutator != first, "another thread's mutator was taken") }
    }.join()
    #expect(fixture.attached { $0.mutator } == first)
    // Nor when it is gone.
    fixture.heap.collectAndWait()
    fixture.heap.collectAndWait()
    fixture.heap.registry.forEach { _, _ in Issue.record("idle mutators are left") }
    TestThread {
      fixture.attached { require($0.mutator != first, "another thread's mutator was taken") }
    }.join()
    #expect(fixture.attached { $0.mutator } == first)
    #expect(fixture.problems.isEmpty)
  }

  @Test("a mutator of a heap that has ended is its thread's in a later heap, and no other's")
  func endedHeap() throws {
    var first: AttachedMutator?
    do {
      let ended = try HeapFixture()
      first = ended.attached { $0.mutator }
    }
    let kept = try #require(first)
    #expect(kept.isBlocked && kept.isRequested)
    let fixture = try HeapFixture()
    TestThread {
      fixture.attached { require($0.mutator != kept, "another thread's mutator was taken") }
    }.join()
    #expect(fixture.attached { $0.mutator } == kept)
    #expect(fixture.problems.isEmpty)
  }

  @Test("a thread that attaches while the heap marks allocates black, before the scan white")
  func attachingDuringCycle() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      program.collecting {
        fixture.heap.beginMarking()
        fixture.heap.raiseBarrier()
        TestThread {
          fixture.attached { other in
            require(!fixture.isMarked(other.makeNode()), "black too early")
          }
        }.join()
        fixture.heap.scanStacksAndRoots()
        TestThread {
          fixture.attached { other in
            let node = other.makeNode()
            require(fixture.isMarked(node), "white while the heap marks")
            _ = other.root(node)
          }
        }.join()
      }
      program.endCycle()
      #expect(fixture.heap.roots.references.allSatisfy { fixture.place(of: $0) != nil })
    }
    #expect(fixture.problems.isEmpty)
    fixture.heap.collectAndWait()
    #expect(fixture.objects(of: fixture.node) == Set(fixture.heap.roots.references))
    #expect(fixture.problems.isEmpty)
  }

  @Test("a thread that leaves while the heap marks leaves no slot behind that lives on")
  func leavingDuringCycle() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      program.beginCycle()
      program.collecting {
        TestThread { fixture.attached { other in _ = other.root(other.makeNode()) } }.join()
      }
      program.endCycle()
    }
    #expect(fixture.objects(of: fixture.node) == Set(fixture.heap.roots.references))
    #expect(fixture.heap.counters.liveObjects.load(ordering: .relaxed) == 1)
    #expect(fixture.problems.isEmpty)
  }

  @Test("what a leaving thread's stores have recorded is marked")
  func leavingWithRecords() throws {
    let fixture = try HeapFixture()
    fixture.attached { program in
      let holder = program.root(program.makeNode())
      program.store(program.makeNode(value: 8), into: holder.reference, HeapFixture.left)
      let target = program.load(holder.reference, HeapFixture.left)
      program.collecting {
        fixture.heap.beginMarking()
        fixture.heap.raiseBarrier()
        TestThread {
          fixture.attached { other in other.store(0, into: holder.reference, HeapFixture.left) }
        }.join()
      }
      program.collecting { fixture.heap.scanStacksAndRoots() }
      program.endCycle()
      #expect(fixture.objects(of: fixture.node).contains(target))
    }
  }

  @Test("a mutator is used again, and one that was idle for a whole cycle is let go")
  func idleMutators() throws {
    let fixture = try HeapFixture()
    let first = fixture.attached { $0.mutator }
    #expect(fixture.attached { $0.mutator } == first, "the idle one is taken again")
    func count() -> Int {
      var count = 0
      fixture.heap.registry.forEach { _, _ in count += 1 }
      return count
    }
    let rendezvous = Rendezvous(3)
    onThreads(3) { _ in fixture.attached { program in program.collecting { rendezvous.meet() } } }
    #expect(count() == 4, "one for each thread")
    fixture.heap.collectAndWait()
    #expect(count() == 4, "each was used since the last cycle")
    let taken = fixture.heap.taken
    fixture.heap.collectAndWait()
    #expect(count() == 0)
    #expect(fixture.heap.taken == taken, "what they had counted is kept")
    fixture.attached { program in _ = program.root(program.makeNode()) }
    #expect(count() == 1)
    fixture.heap.collectAndWait()
    #expect(fixture.objects(of: fixture.node).count == 1)
    #expect(fixture.problems.isEmpty)
  }

  @Test("a thread that attaches while its idle mutator is being answered for waits for that alone")
  func attachingDuringService() throws {
    let fixture = try HeapFixture { $0.stress.handshakeDelay = 300 }
    let isDone = Event()
    let collector = TestThread { while !isDone.hasHappened { fixture.heap.collectAndWait() } }
    onThreads(3) { _ in
      for value in 0..<300 as Range<UInt> {
        fixture.attached { program in
          let node = program.root(program.makeNode(value: value))
          require(program.load(node.reference, HeapFixture.value) == value, "lost")
          program.drop(node)
        }
      }
    }
    isDone.happen()
    collector.join()
    fixture.heap.collectAndWait()
    #expect(fixture.heap.taken.slots == 900)
    #expect(fixture.heap.taken == fixture.heap.freed)
    #expect(fixture.problems.isEmpty)
  }
}
