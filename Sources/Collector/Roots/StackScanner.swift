// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Scanning a stack, without knowing its frames.
//
// Every aligned word between the stack pointer and the base of the mutator's stretch of the
// stack is looked up; one that points at an allocated slot of the heap, or into one, marks
// it. Registers have been stored below the stretch by whoever took the stack pointer
// (heap_call_with_spilled_registers). A word that only looks like a pointer keeps an object
// alive until a later cycle; it is never wrong otherwise, since nothing moves.
//
// The base is the frame from which the outermost `withMutator` called its body: references
// live in frames below it only.
//
// Who scans: the thread itself at its safepoint, or the collector while the thread is in a
// blocking region, when its frames stand still.

internal import CHeapShims
internal import Heap

extension Marker {
  /// Marks everything that the words of a stack may refer to.
  package mutating func scanStack(from stackPointer: UInt, to base: UInt) {
    var address = stackPointer.aligned(up: 8)
    while address < base {
      markConservatively(heap_load_word(address))
      address += 8
    }
  }
}
