// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Blocking regions: stretches of a thread's time in which it does not touch any heap.
//
// The thread stores its registers and its stack pointer and says so in its status word; from
// then on the collector answers handshakes for it, and the frames above the stack pointer
// stand still until it comes back. A thread that is attached to several heaps blocks in all
// of them: what it waits for may be a collection of any.

internal import CHeapShims
internal import Heap

extension CollectedHeap {
  /// Calls `body` with the callers' registers stored at or above the address it is given.
  package static func spilling(_ body: (_ stackPointer: UInt) -> Void) {
    withoutActuallyEscaping(body) { body in
      var body = body
      unsafe withUnsafeMutablePointer(to: &body) { context in
        unsafe heap_call_with_spilled_registers(
          { context, stackPointer in
            guard let context = unsafe context else { return }
            unsafe context.assumingMemoryBound(to: ((UInt) -> Void).self).pointee(stackPointer)
          }, context)
      }
    }
  }

  /// Runs `body`, which may take its time and touches no heap.
  package static func blocking(_ body: () -> Void) {
    spilling { stackPointer in
      let entered = enterBlocking(stackPointer: stackPointer)
      body()
      for mutator in entered.reversed() { mutator.leaveBlocking() }
    }
  }

  /// Brings all mutators of the calling thread that run into blocking regions, the innermost
  /// first; which those were.
  private static func enterBlocking(stackPointer: UInt) -> [AttachedMutator] {
    var entered: [AttachedMutator] = []
    for mutator in AttachedMutator.chain where !mutator.isBlocked {
      mutator.enterBlocking(stackPointer: stackPointer)
      entered.append(mutator)
    }
    return entered
  }

  /// Runs `body` with the calling thread's mutator running, though it was in a blocking
  /// region: the thread has entered the heap again from inside one.
  ///
  /// Afterwards the thread is blocked at the stack pointer of the region that it is still in. The
  /// frames of the region's own code are not scanned, and a lower stack pointer would not help:
  /// that code goes on running while the collector reads. A reference that it holds moves between
  /// its frames, its registers and the frames of what it calls, and nobody would wait for it.
  package static func unblocked(_ mutator: AttachedMutator, _ body: () -> Void) {
    guard mutator.isBlocked else { return body() }
    let stackPointer = unsafe mutator.state.pointee.stackPointer
    mutator.leaveBlocking()
    body()
    mutator.enterBlocking(stackPointer: stackPointer)
  }
}
