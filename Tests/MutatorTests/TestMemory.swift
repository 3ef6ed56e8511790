// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Objects without a heap.
//
// References need memory, not a collector: these are laid in zeroed blocks that are never
// freed. The barrier flag belongs to the process, and a heap in another test may raise it;
// then a store into such a block would be a mistake and trap. So every test that stores runs
// in a process of its own (`#expect(processExitsWith:)`).

import Mutator

/// Memory that looks like a heap's.
enum TestMemory {
  static func zeroed(bytes: Int, alignment: Int = 16) -> UnsafeMutableRawPointer {
    let block = UnsafeMutableRawPointer.allocate(byteCount: max(bytes, 1), alignment: alignment)
    unsafe block.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    return unsafe block
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
