// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Scanning a stack, without knowing its frames.
//
// Every aligned word between the stack pointer and the end of the thread's stack is looked up.
// A word that points at an allocated slot of the heap, or into one, marks the object there.
// Registers have been stored at or above the stack pointer by whoever took it
// (heap_call_with_spilled_registers). A word that only looks like a reference keeps an object
// alive until a later cycle; it is never wrong otherwise, since nothing moves.
//
// The whole stack is scanned, up to the thread's first frame, and not only the frames below
// `withMutator`: a variable of the function that calls `withMutator` lies above, and the body
// may have stored a reference there.
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
