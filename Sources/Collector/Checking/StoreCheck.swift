// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked mode, when a reference is stored: is it one, and may it be stored there?
//
//   1. the thread is attached to the heap of the object that is stored into, and runs
//      (WriteBarrier)
//   2. that object is allocated
//   3. the new value is zero, or the address of an allocated object of the same heap
//   4. … which has the type that the reference says, if the caller knows that type
//   5. … and it is the object's first address, unless the object is a tiny value
//
// Rule 4 finds a reference to a dead object whose memory has an object of another type by now.
//
// In checked mode the barrier flag is always up, so stores into objects come through the
// barrier's slow half and are checked there, without a rebuild. The first values of an object or
// an array are checked before its slot is taken (Mutator/Threads): afterwards the slot of a dead
// object could be the new object's own. Roots are checked when they are made and set; in
// unchecked mode, too, as far as the heap is concerned that the reference leads into.
//
// The collector knows no Swift type. What an enum holds is found by the caller, who hands each
// reference of a value here, one by one (Mutator/Types/ReferencePlan.swift).
//
// A failure names the rule, the holder's type, the field, the addresses, and what was probably
// done.

internal import CHeapShims
package import Heap

/// Checks of references that are about to be stored.
package enum StoreCheck {
  /// Stops the program if a store goes to an object that is not allocated (rule 2).
  ///
  /// - Parameter slot: an address in the object.
  package static func checkHolder(of slot: UInt, by mutator: AttachedMutator) {
    _ = holder(of: slot, mutator.heap)
  }

  private static func holder(of slot: UInt, _ heap: CollectedHeap) -> (span: HeapSpan, slot: Int) {
    let owner = heap.pageHeap.owner
    if let place = HeapSpan.lookUp(slot, owner: owner) { return place }
    var field = "at \(hex(slot))"
    // The span knows what was there, as long as it lives.
    if let (span, number) = HeapSpan.slot(of: slot, owner: owner) {
      let object = span.address(ofSlot: number)
      field = heap.layouts.field(of: span.layout, at: Int(slot - object))
      field += " of a \(heap.name(of: span.layout)) at \(hex(object))"
    }
    failure(
      "a reference was stored into an object that has been collected (\(field)): the reference to "
        + "that object was " + keptElsewhere)
  }

  /// Stops the program if a reference must not be stored into a word of an object.
  ///
  /// - Parameters:
  ///   - new: the reference.
  ///   - slot: the word that is about to get it.
  ///   - expected: the layout of what the reference leads to; nil: any.
  ///   - path: the way to the reference from the field on, if the field is an enum.
  package static func check(
    _ new: UInt, storedAt slot: UInt, expecting expected: HeapLayout? = nil,
    path: @autoclosure () -> String = "", by mutator: AttachedMutator
  ) {
    let heap = mutator.heap
    let (span, number) = holder(of: slot, heap)
    guard let problem = problem(with: new, expected, heap) else { return }
    // Named on failure only: it takes a lock.
    let object = span.address(ofSlot: number)
    let field = heap.layouts.field(of: span.layout, at: Int(slot - object), path: path())
    let type = heap.name(of: span.layout)
    problem.report("stored into \(field) of a \(type) at \(hex(object))")
  }

  /// Stops the program if a reference must not be part of what is made, or kept in a root.
  ///
  /// - Parameters:
  ///   - new: the reference.
  ///   - expected: the layout of what the reference leads to; nil: any.
  ///   - place: where it goes, after "stored into".
  package static func check(
    _ new: UInt, expecting expected: HeapLayout?, storedInto place: @autoclosure () -> String,
    by mutator: AttachedMutator
  ) {
    guard let problem = problem(with: new, expected, mutator.heap) else { return }
    problem.report("stored into \(place())")
  }

  /// Stops the program if a reference must not be used.
  ///
  /// - Parameters:
  ///   - reference: the reference.
  ///   - expected: the layout of what it leads to; nil: any.
  package static func checkUse(
    of reference: UInt, expecting expected: HeapLayout?, by mutator: AttachedMutator
  ) {
    guard let problem = problem(with: reference, expected, mutator.heap) else { return }
    problem.report("used")
  }

  /// Stops the program if a reference leads into no heap, or into another than the mutator's. The
  /// part of rule 3 that costs two loads: it holds for roots in unchecked mode, too.
  ///
  /// - Parameters:
  ///   - new: the reference, or zero.
  ///   - place: where it goes, after "stored into".
  package static func checkOwner(
    of new: UInt, storedInto place: @autoclosure () -> String, by mutator: AttachedMutator
  ) {
    guard let problem = foreign(new, unsafe mutator.state.pointee.owner) else { return }
    problem.report("stored into \(place())")
  }

  // MARK: - Rules

  /// What is wrong with a reference.
  private struct Problem {
    /// What it is, as the beginning of a sentence.
    var subject: String
    /// How that came about and what to do, as its end.
    var reason: String

    func report(_ event: String) -> Never { failure("\(subject) was \(event): \(reason)") }
  }

  /// What is wrong with a reference that does not lead into a heap.
  private static func foreign(_ new: UInt, _ owner: UInt) -> Problem? {
    guard new != 0 else { return nil }
    guard let tables = ArenaTables.find(new), tables.owner != 0 else {
      return Problem(
        subject: "\(hex(new)), which is no reference,",
        reason: "it was read from an object that has been collected, or memory was overwritten")
    }
    guard tables.owner == owner else {
      return Problem(
        subject: "a reference to an object of another heap (\(hex(new)))",
        reason: "objects of two heaps cannot refer to each other; keep a HeapRoot of the other "
          + "heap outside both, and an index of it in the object")
    }
    return nil
  }

  /// Rules 3 to 5.
  private static func problem(
    with new: UInt, _ expected: HeapLayout?, _ heap: CollectedHeap
  ) -> Problem? {
    guard new != 0 else { return nil }
    let owner = heap.pageHeap.owner
    if let problem = foreign(new, owner) { return problem }
    guard let (span, slot) = HeapSpan.lookUp(new, owner: owner) else {
      return Problem(
        subject: "a reference to an object that has been collected (\(was(new, heap)))",
        reason: "it was " + keptElsewhere)
    }
    if let expected, span.layout != expected, !(span.layout.isTiny && expected.isTiny) {
      let (found, wanted) = (heap.name(of: span.layout), heap.name(of: expected))
      return Problem(
        subject: "a reference to an object that has been collected (\(hex(new)), where there is "
          + "a \(found) now, and there was a \(wanted))", reason: "it was " + keptElsewhere)
    }
    guard span.layout.isTiny || span.address(ofSlot: slot) == new else {
      return Problem(
        subject: "an address inside an object (\(hex(new)))", reason: "it was " + keptElsewhere)
    }
    return nil
  }

  /// A stale reference, with the type of the object that it led to if that is known.
  private static func was(_ stale: UInt, _ heap: CollectedHeap) -> String {
    guard let (span, _) = HeapSpan.slot(of: stale, owner: heap.pageHeap.owner) else {
      return hex(stale)
    }
    return "\(hex(stale)), a \(heap.name(of: span.layout))"
  }

  /// How a reference becomes stale, after "it was", and what to do about it.
  static var keptElsewhere: String {
    "kept where the collector does not look (a Swift array or dictionary, a class, an escaping "
      + "closure, a task, an `any` value); keep a HeapRoot there (Documentation/Roots.md)"
  }

  static func failure(_ message: String) -> Never {
    broken("heap check: \(message)")
  }

  static func hex(_ address: UInt) -> String { "0x" + String(address, radix: 16) }
}

extension AttachedMutator {
  /// The heap is in checked mode.
  package var isChecked: Bool { unsafe state.pointee.isChecked }
}
