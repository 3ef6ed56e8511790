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
// AddressSanitizer may keep the locals of a function in a fake frame elsewhere. The real frame
// holds the fake one's address, so the scan follows such words. Without AddressSanitizer there
// is no fake stack, and the words are not even looked at.
//
// Who scans: the thread itself at its safepoint, or the collector while the thread is in a
// blocking region, when its frames stand still.

internal import CHeapShims
internal import Heap

extension Marker {
  /// Marks everything that the words of a stack may refer to.
  ///
  /// - Parameter fakeStack: the thread's fake stack, if it has one, else 0.
  package mutating func scanStack(
    from stackPointer: UInt, to base: UInt, fakeStack: UInt = 0
  ) {
    var address = stackPointer.aligned(up: 8)
    while address < base {
      let word = heap_load_word(address)
      markConservatively(word)
      if fakeStack != 0 { scanFakeFrame(of: fakeStack, at: word) }
      address += 8
    }
  }

  /// Marks everything that the words of a fake frame may refer to, if the word leads to one.
  @inline(never)
  private mutating func scanFakeFrame(of fakeStack: UInt, at word: UInt) {
    var (begin, end): (UInt, UInt) = (0, 0)
    let fakeStack = unsafe UnsafeMutableRawPointer(bitPattern: fakeStack)
    guard unsafe heap_fake_stack_frame(fakeStack, word, &begin, &end) else { return }
    for address in stride(from: begin.aligned(up: 8), to: end, by: 8) {
      markConservatively(heap_load_word(address))
    }
  }
}
