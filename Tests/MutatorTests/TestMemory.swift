// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Objects without a heap.
//
// References need memory, not a collector: these are laid in an arena that belongs to no heap (a
// store looks its tables up, for the card) and are never freed. The barrier flag belongs to the process, and a heap in another test may raise it;
// then a store into such a block would be a mistake and trap. So every test that stores runs
// in a process of its own (`#expect(processExitsWith:)`).

import Heap
import Mutator
import Synchronization

/// Memory that looks like a heap's.
enum TestMemory {
  /// The next free byte.
  private static let cursor: Atomic<UInt> = {
    do {
      let size = Geometry.arenaSize
      let arena = try VirtualMemory.reserve(size: size, alignment: size)
      try VirtualMemory.commit(arena, size: size)
      _ = try ArenaTables.publish(ArenaIndex(holding: arena), owner: 0)
      return Atomic(arena)
    } catch {
      fatalError("no memory for the tests: \(error)")
    }
  }()

  static func zeroed(bytes: Int, alignment: Int = 16) -> UnsafeMutableRawPointer {
    let size = UInt(bytes + alignment).aligned(up: 16)
    let start = cursor.add(size, ordering: .relaxed).oldValue.aligned(up: UInt(alignment))
    return unsafe UnsafeMutableRawPointer(bitPattern: start).unsafelyUnwrapped
  }

  static func object<Object: HeapObject>(_ value: Object) -> HeapRef<Object> {
    let block = unsafe zeroed(
      bytes: MemoryLayout<Object>.size, alignment: max(16, MemoryLayout<Object>.alignment))
    unsafe block.initializeMemory(as: Object.self, to: value)
    return unsafe HeapRef(_raw: block)
  }

  static func array<Element>(_ elements: [Element]) -> HeapArray<Element> {
    let alignment = MemoryLayout<Element>.alignment
    let size =
      HeapArrayFormat.elementsOffset(alignment: alignment)
      + MemoryLayout<Element>.stride * elements.count
    let block = unsafe zeroed(bytes: size, alignment: max(16, alignment))
    unsafe block.storeBytes(of: elements.count, as: Int.self)
    let first = unsafe block + HeapArrayFormat.elementsOffset(alignment: alignment)
    for (index, element) in elements.enumerated() {
      let place = unsafe first + index * MemoryLayout<Element>.stride
      unsafe place.initializeMemory(as: Element.self, to: element)
    }
    return unsafe HeapArray(_raw: block)
  }

  static func string(_ text: String) -> HeapString {
    unsafe HeapString(_raw: array(Array(text.utf8))._raw)
  }
}
