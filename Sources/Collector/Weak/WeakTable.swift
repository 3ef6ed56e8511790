// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Weak references: cells in the heap whose target the marker does not see.
//
//     object ──strong──► cell { target, owner } ┄┄weak┄┄► target
//
// A weak reference that a program keeps is a strong one to a cell. The cell is an object without
// references, as far as the marker knows. So it lives as long as somebody refers to it, and its
// target may die. This table knows every cell. When marking has ended the collector goes through it
// (`settle`), before anything is swept:
//
//     the cell is not marked     forgotten: nobody refers to it
//     its target is not marked   the cell's target becomes 0, for ever; forgotten
//     else                       the cell is settled
//
// A cell refers to an object that was there before the cell, and never to another. So the target of
// a settled cell is as old as the cell, or older: a minor cycle leaves both alone, and goes through
// the cells only that were made since. A full cycle goes through all.
//
// A look-up while nothing is marked is a load. While the heap's barrier is up it is a question
// (RootTable.keep): a white target is marked, so that what the program has got lives; once marking
// has ended, a white target is dead, though its cell may not have been cleared yet. What is decided
// of a target is the same for all of its cells, and for ever, because nobody marks after the end.
//
// A cell that is made while the heap is marked has a target on its maker's stack, which is marked
// when marking ends. One that is made after the end is settled in the next cycle.
//
// Owner       `settle`: the collector's thread. The rest: any thread.
// Guarded by  the lock inside; a cell's words are atomic.
// Ordering    See Note [Weak references] in Documentation/MemoryOrdering.md.
// Model: Verification/weak.pml

internal import CHeapShims
internal import Heap
internal import Synchronization

/// Where a cell is, and what the collector knows of it.
@safe package struct WeakCellAddress: Hashable, Sendable {
  package let address: UInt

  init(address: UInt) { self.address = address }

  /// The cell at an object's first address.
  package init(_ object: UnsafeMutableRawPointer) { address = UInt(bitPattern: object) }

  private var words: UnsafeMutablePointer<Atomic<UInt>> {
    // SAFETY: a cell is two words, and atomic words have the layout of words.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// The target's address; 0: it has died.
  ///
  /// Relaxed: whoever follows it has had it from the program, or has asked `RootTable.keep`.
  package var target: UInt { unsafe words[0].load(ordering: .relaxed) }

  /// The map that counts the cell, or 0.
  var owner: UInt { unsafe words[1].load(ordering: .relaxed) }

  /// Makes the reference nil; whether it was not. Relaxed: who is first counts it.
  package func clear() -> Bool { unsafe words[0].exchange(0, ordering: .relaxed) != 0 }
}

/// All weak references of a heap.
@safe package final class WeakTable: @unchecked Sendable {
  // Sendable: constants, a lock, atomics and a pointer to atomics.

  private struct Cells: ~Copyable {
    /// Made since the collector settled last.
    var young = WordBag()
    var settled = WordBag()
  }

  private let cells = HeapLock(Cells(), rank: .weak)
  private let roots: RootTable
  private let words: UnsafeMutablePointer<HeapWords>
  /// Cells that are known. Relaxed: a figure.
  private let known = Atomic<Int>(0)
  /// Cells that were made nil. Relaxed: a figure.
  private let cleared = Atomic<Int>(0)

  init(roots: RootTable, words: UnsafeMutablePointer<HeapWords>) {
    self.roots = roots
    unsafe self.words = words
  }

  // MARK: - The program's side

  /// Makes a cell known whose target is set. Its maker holds the target, and passes no safepoint
  /// between the allocation of the cell and this call.
  package func add(_ cell: WeakCellAddress) {
    cells.withLock { $0.young.append(cell.address) }
    known.add(1, ordering: .relaxed)
  }

  /// The target of a cell, if it lives; 0 if it does not.
  package func lookUp(_ cell: WeakCellAddress) -> UInt {
    // Acquiring: pairs with the collector's stores. Who sees the word down sees what was settled.
    let isGuarded = unsafe words.pointee.barrierIsUp.load(ordering: .acquiring)
    let target = cell.target
    return !isGuarded || target == 0 || roots.keep(target) ? target : 0
  }

  // MARK: - The collector's side

  /// Makes every weak reference nil whose target is dead. Marking has ended.
  func settle(_ kind: CycleKind) {
    guard known.load(ordering: .relaxed) > 0 else { return }
    // Nobody waits for the lock while the collector goes through them.
    var young = cells.withLock { $0.young.takeAll() }
    var settled = cells.withLock { $0.settled.takeAll() }
    settle(&young)
    if kind == .full { settle(&settled) }
    settled.add(&young)
    cells.withLock { $0.settled.add(&settled) }
  }

  private func settle(_ bag: inout WordBag) {
    let before = bag.count
    var cleared = 0
    bag.filter {
      heap_prefetch($0)
      heap_prefetch(MarkBit(of: $0).word)
    } follow: {
      let target = WeakCellAddress(address: $0).target
      if target != 0 { heap_prefetch(MarkBit(of: target).word) }
    } isKept: {
      guard MarkBit(of: $0).isSet else { return false }
      let cell = WeakCellAddress(address: $0)
      let (target, owner) = (cell.target, cell.owner)
      // A dictionary has made it nil itself, or the dictionary is dead.
      if target == 0 || owner != 0 && !MarkBit(of: owner).isSet { return false }
      if MarkBit(of: target).isSet { return true }
      guard cell.clear() else { return false }
      if owner != 0 { MapCount(map: owner).add(1) }
      cleared += 1
      return false
    }
    known.subtract(before - bag.count, ordering: .relaxed)
    self.cleared.add(cleared, ordering: .relaxed)
  }

  // MARK: - Figures, checks

  /// Weak references that are known and not nil, as of the last cycle, with those made since; and how
  /// many have become nil.
  package var figures: (known: Int, cleared: Int) {
    (known.load(ordering: .relaxed), cleared.load(ordering: .relaxed))
  }

  /// Calls `body` with each cell that is known and its target. No cycle is being settled.
  func forEach(_ body: (_ cell: UInt, _ target: UInt) -> Void) {
    cells.withLock { cells in
      cells.young.forEach { body($0, WeakCellAddress(address: $0).target) }
      cells.settled.forEach { body($0, WeakCellAddress(address: $0).target) }
    }
  }

  /// Reports cells and targets that are no objects. Nothing is being collected.
  func checkInvariants(owner: UInt, _ report: (String) -> Void) {
    var count = 0
    forEach { cell, target in
      count += 1
      for address in [cell, target]
      where address != 0 && HeapSpan.lookUp(address, owner: owner) == nil {
        report("a weak reference has \(StoreCheck.hex(address)), which is no object")
      }
    }
    let known = known.load(ordering: .relaxed)
    if count != known { report("\(count) weak references are in the table, \(known) are counted") }
  }
}

extension AttachedMutator {
  /// The target of a cell, if it lives; 0 if it does not.
  package func target(of cell: WeakCellAddress) -> UInt {
    requireRunning()
    require(
      unsafe ArenaTables.find(cell.address)?.owner == state.pointee.owner,
      "a weak reference was used with a mutator of another heap: use it inside withMutator of its "
        + "own")
    return withHeap { $0.weak.lookUp(cell) }
  }
}
