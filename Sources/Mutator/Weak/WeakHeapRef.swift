// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Weak references.
//
// One word: a strong reference to a cell, an object of two words that has the target's address
// where the collector does not look for references. So a weak reference is a field, an element or a
// local like any other reference, and what is weak is the cell's way on to the target. The
// collector knows every cell and empties those whose targets have died (Collector/Weak/WeakTable.swift).
//
//     the barrier flag is down   get is a fence (no instruction on x86-64) and a load
//     it is up                   a question to the collector: what it returns is marked, or was
//
// Off the heap: WeakHeapRoot.swift.

public import CHeapShims
internal import Collector
internal import Heap
public import Synchronization

/// The object behind a weak reference.
///
/// To the collector it has no references: the target's address is a number.
@usableFromInline package struct WeakCell: HeapObject {
  @usableFromInline package var target: UInt
  /// The container that counts the cell, or 0.
  @usableFromInline package var owner: UInt = 0
}

/// A reference to an object that does not keep the object alive.
///
/// ``HeapMutator/weak(to:)`` makes one. It is valid where a ``HeapRef`` is, and may be a field, an
/// element of an array, or the reference of a ``HeapRoot``.
///
/// ```swift
/// struct Node: HeapObject {
///   var parent: WeakHeapRef<Node>?
///   var child: HeapRef<Node>?
/// }
///
/// child.parent = mutator.weak(to: parent)
/// if let parent = child.parent?.get(in: mutator) { … }
/// ```
///
/// When a collection finds that the object can be reached from no root, no stack and no object that
/// lives, all weak references to it become nil at once, and stay nil. A weak reference in an object of
/// a dead cycle keeps nothing alive.
///
/// A value of less than 16 bytes without references shares its memory with others. A weak reference
/// to it becomes nil when none of them lives.
@safe @frozen
public struct WeakHeapRef<Object: HeapObject>: _HeapNonNullReference {
  @usableFromInline let cell: HeapRef<WeakCell>

  @inlinable init(_ cell: HeapRef<WeakCell>) { self.cell = cell }

  /// The object, if it lives.
  ///
  /// Once nil, nil for ever; and nil after a collection that found the object unreachable. What
  /// is returned is a reference like any other and keeps the object alive.
  ///
  /// - Parameter mutator: the calling thread's mutator, of the heap of the object.
  /// - Returns: the object, or nil.
  /// - Complexity: O(1): a load, unless some heap is being marked.
  @inlinable public func get(in mutator: HeapMutator) -> HeapRef<Object>? {
    let word: UInt
    if heap_barrier_is_up() {
      word = mutator.targetSlow(of: cell)
    } else {
      // Acquiring: whoever sees the flag down sees what was settled before (Note [Weak references]).
      atomicMemoryFence(ordering: .acquiring)
      word = unsafe cell._raw.assumingMemoryBound(to: Atomic<UInt>.self).pointee
        .load(ordering: .relaxed)
    }
    // SAFETY: the address of an object of this type, or zero, which is nil.
    return unsafe unsafeBitCast(word, to: HeapRef<Object>?.self)
  }
}

/// References belong to the threads that are attached to their heap.
@available(
  *, unavailable,
  message:
    "a reference is valid inside withMutator only, on that thread: hand a WeakHeapRoot to others"
)
extension WeakHeapRef: Sendable {}

extension WeakHeapRef: CustomStringConvertible, CustomDebugStringConvertible {
  /// The type and the address of the weak reference's own memory: `WeakHeapRef<Node>(0x7f3a5c000040)`.
  public var description: String {
    "WeakHeapRef<\(Object.self)>(0x" + String(UInt(bitPattern: unsafe cell._raw), radix: 16) + ")"
  }

  /// The same as `description`.
  public var debugDescription: String { description }
}

extension HeapMutator {
  /// Makes a weak reference to an object.
  ///
  /// Without memory the program stops with a message. A safepoint: a collection may take place before
  /// the weak reference exists.
  ///
  /// - Parameter reference: the object.
  /// - Returns: a weak reference to it, which takes 16 bytes of the heap and a word outside.
  /// - Complexity: O(1); takes a lock.
  public func weak<Object: HeapObject>(to reference: HeapRef<Object>) -> WeakHeapRef<Object> {
    WeakHeapRef(unsafe makeCell(reference._raw))
  }

  /// Makes a weak reference to an object, or throws when there is no memory for it.
  ///
  /// - Parameter reference: the object.
  /// - Returns: a weak reference to it.
  /// - Throws: ``HeapError/outOfMemory(requested:limit:)``.
  public func tryWeak<Object: HeapObject>(
    to reference: HeapRef<Object>
  ) throws(HeapError) -> WeakHeapRef<Object> {
    WeakHeapRef(unsafe try tryMakeCell(reference._raw))
  }

  // MARK: - Slow path

  func makeCell(_ target: UnsafeMutableRawPointer, owner: UInt = 0) -> HeapRef<WeakCell> {
    do throws(HeapError) {
      return unsafe try tryMakeCell(target, owner: owner)
    } catch {
      broken(error.description)
    }
  }

  /// A cell with a target. The target's address is in the cell's first value until there is a slot for
  /// it, and so on this thread's stack.
  ///
  /// - Parameter owner: the container that counts the cell when the target has died, or 0.
  func tryMakeCell(
    _ target: UnsafeMutableRawPointer, owner: UInt = 0
  ) throws(HeapError) -> HeapRef<WeakCell> {
    attached.requireRunning()
    let word = UInt(bitPattern: target)
    if attached.isChecked {
      StoreCheck.check(word, expecting: nil, storedInto: "a WeakHeapRef", by: attached)
    }
    StoreCheck.checkOwner(of: word, storedInto: "a WeakHeapRef", by: attached)
    let cell = try tryAllocate(WeakCell(target: word, owner: owner))
    // No safepoint lies between the two.
    attached.withHeap { $0.weak.add(unsafe WeakCellAddress(cell._raw)) }
    return cell
  }

  /// The target of a cell while the barrier flag is up.
  @usableFromInline @inline(never)
  func targetSlow(of cell: HeapRef<WeakCell>) -> UInt {
    if attached.isChecked { attached.checkUse(of: cell) }
    return attached.target(of: unsafe WeakCellAddress(cell._raw))
  }
}
