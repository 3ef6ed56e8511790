// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// What a mutator does to answer a handshake: on its own thread at a safepoint, or through the
// collector while it is blocked.
//
// Between two answers a mutator runs whole stretches of code, each with no safepoint inside. So
// whatever an answer changes (the colour of new slots, the generation of new spans) holds for
// whole allocations and whole stores, never for half of one.

internal import CHeapShims
internal import Heap
internal import Synchronization

extension AttachedMutator {
  /// Does what a handshake asks for.
  ///
  /// - Parameter generation: the heap's generation.
  func answer(_ kind: HandshakeKind, stackPointer: UInt, generation: Generation) {
    switch kind {
    case .sync, .park: break
    case .scan:
      flushBarrier()
      scanStack(from: stackPointer)
      blackenRuns()
    case .flush:
      flushBarrier()
    case .off:
      // Marking has ended.
      unsafe state.pointee.barrier.discard()
      // What was allocated before is not put on cards.
      countRuns()
      unsafe state.pointee.cardsBirths = true
    case .returnSpans:
      // What was taken until now is black and has been counted as marked.
      unsafe state.pointee.unaccountedBytes = 0
      returnSpans()
      unsafe (state.pointee.allocatesBlack, state.pointee.cardsBirths) = (false, false)
      unsafe state.pointee.generation = generation
    }
  }

  /// Marks what the mutator's stores have recorded.
  package func flushBarrier() {
    guard unsafe state.pointee.barrier.count > 0 else { return }
    unsafe state.pointee.barrier.flush(to: &state.pointee.marker)
    unsafe state.pointee.marker.settle()
  }

  /// Empties a buffer that is full, between two answers. Marks what is in it, unless marking has ended:
  /// the collector may be about to decide that (RootTable).
  @inline(never)
  func flushFullBarrier() {
    withHeap { heap in
      guard heap.roots.beginFlush() else {
        return unsafe state.pointee.barrier.discard()
      }
      flushBarrier()
      heap.roots.endFlush()
    }
  }

  /// Marks what the words of the thread's stack may refer to.
  private func scanStack(from stackPointer: UInt) {
    let base = unsafe state.pointee.stackBase
    guard stackPointer != 0, base != 0 else { return }
    require(
      stackPointer <= base,
      "a thread inside withMutator runs on another stack than it entered with: a signal handler "
        + "or a coroutine that switches stacks may not use the heap")
    unsafe state.pointee.marker.scanStack(
      from: stackPointer, to: base, fakeStack: state.pointee.fakeStack)
    unsafe state.pointee.marker.settle()
    unsafe state.pointee.marker.withShared {
      _ = $0.counters.rootBytes.add(Int(base - stackPointer), ordering: .relaxed)
    }
  }
}
