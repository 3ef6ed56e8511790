// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked mode: every reference in a value that is about to be stored.
//
// The collector has the rules (Collector/Checking/StoreCheck.swift) and knows no Swift type. Here
// the value is taken apart (ReferencePlan), and each reference in it is handed to the rules, with
// what its type says about the object at its end. Three kinds of stores come here:
//
//     into an object or an array    from the write barrier's slow half, which checked mode
//                                   keeps every store in
//     as an object's or an array's  from the slow half of allocation, before a slot is taken:
//     first value                   the slot of a dead object could become the new object's own,
//                                   and then a stale reference to it would look right
//     into a root                   from HeapRoot
//
// Nothing here is called in unchecked mode.

internal import Collector
internal import Heap

extension AttachedMutator {
  /// Stops the program if a value must not be stored into an object.
  ///
  /// - Parameters:
  ///   - type: the value's type.
  ///   - destination: where it will lie, in an object.
  ///   - source: where it lies now.
  func checkStore(of type: Any.Type, at destination: UInt, from source: UInt) {
    StoreCheck.checkHolder(of: destination, by: self)
    forEachReference(in: type, at: source) { reference, expected, path in
      StoreCheck.check(
        reference.word, storedAt: destination + UInt(reference.offset), expecting: expected,
        path: path.insideEnum, by: self)
    }
  }

  /// Stops the program if a value must not be the first value of an object, or of a buffer's header.
  ///
  /// - Parameter buffer: the name of the buffer's type.
  func checkFirstValue(of type: Any.Type, at source: UInt, in buffer: String? = nil) {
    forEachReference(in: type, at: source) { reference, expected, path in
      StoreCheck.check(
        reference.word, expecting: expected,
        storedInto: "field \(path) of a new \(buffer ?? "\(type)")", by: self)
    }
  }

  /// Stops the program if a value must not be the first value of an array's elements.
  ///
  /// - Parameter holder: the name of the array's or the buffer's type.
  func checkElement(_ type: Any.Type, at source: UInt, in holder: String? = nil) {
    forEachReference(in: type, at: source) { reference, expected, path in
      let field = path.description.isEmpty ? "" : "field \(path) of "
      StoreCheck.check(
        reference.word, expecting: expected,
        storedInto: "\(field)the elements of a new \(holder ?? "HeapArray<\(type)>")", by: self)
    }
  }

  /// Stops the program if a reference must not be kept in a root.
  func checkRoot<Reference: _HeapReferenceWord>(_ reference: Reference) {
    unsafe withUnsafePointer(to: reference) { source in
      forEachReference(in: Reference.self, at: UInt(bitPattern: source)) { reference, expected, _ in
        StoreCheck.check(
          reference.word, expecting: expected, storedInto: "a HeapRoot<\(Reference.self)>",
          by: self)
      }
    }
  }

  /// Stops the program if a weak reference that is looked up is none, because its cell has been
  /// collected.
  func checkUse(of cell: HeapRef<WeakCell>) {
    let word = UInt(bitPattern: unsafe cell._raw)
    StoreCheck.checkUse(
      of: word, expecting: ManagedHeap.of(self).types.layout(of: .object(WeakCell.self)), by: self)
  }

  /// Calls `body` with every reference of a value that leads to an object, and the layout that the
  /// object should have.
  private func forEachReference(
    in type: Any.Type, at source: UInt,
    _ body: (ReferencePlan.Found, _ expected: HeapLayout?, _ path: ReferencePath) -> Void
  ) {
    let types = ManagedHeap.of(self).types
    // SAFETY: the value's address, as the caller says; it is the caller's own copy. A value without
    // bytes may have none.
    guard let value = unsafe UnsafeRawPointer(bitPattern: source) else { return }
    unsafe ReferencePlan.of(type).walk(value) { reference, path in
      guard !reference.isNoReference else { return }
      body(reference, reference.target.flatMap { types.layout(of: $0) }, path)
    }
  }
}
