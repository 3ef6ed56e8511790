// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Destroying what dead objects own: values in their fields that ARC manages.
//
// Such a value has to be released when its object has died, and that calls the program's code
// (`deinit`). A thread that sweeps cannot call it: a mutator sweeps in the midst of an allocation, and
// the collector's thread must not wait for the program. So a sweep moves the values out, and a thread
// of the heap's own destroys them:
//
//     sweep        dead slots of a span ──bytes moved──► remains      the slots are free at once
//     add          remains ──► queue                                  under the lock
//     this thread  all that is queued, span by span: destroy, free the remains, count
//
// A Swift value whose type allows it (LayoutDerivation asks) may be moved by moving its bytes. After
// the move the slot holds zeroes and no value. The object was not marked when marking had ended, so no
// thread can have a reference to it, and nobody reads the bytes meanwhile.
//
// Why exactly once. A span is swept by one thread, which owns it. That thread moves out what is
// allocated and not marked, and the same sweep makes the slots free. A slot that is allocated has an
// object: its thread initialises it before its next safepoint, and what a thread takes and does not
// use it gives back before spans are swept (RunColour). So the next sweep finds each slot free, or a
// new object there.
//
// Whoever destroys holds no lock, is not attached and owns no span. So a `deinit` may do whatever
// any other thread may: enter a heap, allocate, collect, drop roots. Nobody waits for this thread but
// the end of the heap. The end:
//
//   1. No thread is attached, and no other one can be. This thread destroys what is queued.
//   2. It ends the collector's threads. From then on nothing is swept.
//   3. It destroys what was queued meanwhile, and then, in place, what the objects own that are left.
//   4. It ends. Whoever ends the heap has waited for that, and gives the heap's memory back.
//
// If a `deinit` on such a thread drops the last reference to a heap, that thread must not wait: the
// heap may be the one that it works for, and two heaps' threads might wait for each other. Then it
// only tells the heap's own thread to begin with step 1, and goes on. In step 4 the heap's own thread
// gives the memory back (`end(later:)`).
//
// In a process that was forked none of the heap's threads exists, and nothing is destroyed there.
//
// Owner       remains: whoever swept, then the queue, then this thread.
// Guarded by  the lock inside: the queue and the thread. It is never held while anything is destroyed.
// Ordering    the lock hands the remains over. `destroyedObjects` is added releasing (HeapFigures).

internal import CHeapShims
internal import Glibc
internal import Heap
internal import Synchronization

/// What dead objects of a span owned, moved out of their slots.
@safe struct Remains: @unchecked Sendable {
  // Sendable: memory with one owner at a time.

  let layout: HeapLayout
  let count: Int
  /// Bytes from one object to the next.
  let stride: Int
  private let memory: UnsafeMutableRawPointer

  /// Moves the bytes of all dead objects out of a span that is about to be swept; nil: there are none.
  ///
  /// - Precondition: the caller owns the span, and its layout is one of objects.
  init?(takenFrom span: HeapSpan) {
    var count = 0
    span.forEachDead { _ in count += 1 }
    guard count > 0 else { return nil }
    let (size, alignment) = (Int(span.layout.size), span.layout.alignment)
    let stride = Int(span.layout.size.aligned(up: alignment))
    unsafe memory = .allocate(byteCount: count * stride, alignment: max(Int(alignment), 16))
    (layout, self.count, self.stride) = (span.layout, count, stride)
    var place = unsafe memory
    span.forEachDead { address in
      // SAFETY: a slot of the span, whose object nobody refers to.
      let object = unsafe UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
      unsafe place.copyMemory(from: object, byteCount: size)
      // A stale reference finds zeroes, and no value that is destroyed.
      unsafe object.initializeMemory(as: UInt8.self, repeating: 0, count: size)
      unsafe place += stride
    }
  }

  /// The address of the first object.
  var first: UInt { UInt(bitPattern: unsafe memory) }

  func free() { unsafe memory.deallocate() }
}

/// Destroys what dead objects owned, on a thread of its own.
@safe package final class Destroyer: @unchecked Sendable {
  // Sendable: the state is behind the lock; the rest is constant, or atomic words.

  /// Ends what could make more remains, and says in which spans objects are left.
  typealias Ending = @Sendable () -> [HeapSpan]

  private struct State {
    var queue: [Remains] = []
    /// Nil: no type of the heap owns anything, or the heap ends.
    var thread: HeapThread?
    /// Set: the heap ends.
    var ending: Ending?
  }

  private let state = HeapLock(State(), rank: .control)
  private let changes = WaitWord.make()
  private let layouts: LayoutCatalog
  private let counters: HeapCounters

  init(layouts: LayoutCatalog, counters: HeapCounters) {
    self.layouts = layouts
    self.counters = counters
  }

  deinit { changes.destroy() }

  // MARK: - Handing over

  /// Starts the thread, if it does not run yet. Before the first type is used that owns values: so
  /// that nobody who sweeps has to.
  func start() throws(SystemFailure) {
    let isRunning = state.withLock { state in
      // The thread keeps this object. It is joined before the heap goes, or keeps the heap.
      if state.thread == nil { state.thread = HeapThread("heap-destroyer") { [self] in run() } }
      return state.thread != nil
    }
    guard isRunning else { throw SystemFailure(operation: "pthread_create", code: EAGAIN) }
  }

  /// Has remains destroyed, soon. From whoever sweeps.
  func add(_ remains: Remains) {
    let isFirst = state.withLock { state in
      state.queue.append(remains)
      return state.queue.count == 1
    }
    // Whoever put the first one there wakes the thread.
    if isFirst { wake() }
  }

  private func wake() {
    changes.add(1)
    changes.wakeAll()
  }

  // MARK: - The thread

  private func run() {
    let thread = heap_thread_self()
    Self.threads.withLock { _ = $0.insert(thread) }
    while let remains = next() { remains.forEach(destroy) }
    let ending = state.withLock { $0.ending.take() }
    if let spans = ending?() {
      takeQueue().forEach(destroy)
      spans.forEach(destroyInPlace)
    }
    Self.threads.withLock { _ = $0.remove(thread) }
  }

  /// What is queued; sleeps until there is something. Nil: nothing is, and the heap ends.
  private func next() -> [Remains]? {
    while true {
      let seen = changes.value
      let (remains, isEnding) = state.withLock { state in
        (Self.takeQueue(&state), state.ending != nil)
      }
      if !remains.isEmpty { return remains }
      if isEnding { return nil }
      changes.wait(while: seen)
    }
  }

  private func takeQueue() -> [Remains] { state.withLock { Self.takeQueue(&$0) } }

  private static func takeQueue(_ state: inout State) -> [Remains] {
    defer { state.queue = [] }
    return state.queue
  }

  private func destroy(_ remains: Remains) {
    layouts.destroy(of: remains.layout)?(remains.first, remains.count, remains.stride)
    remains.free()
    count(remains.count)
  }

  /// Destroys what all objects of a span own. The heap ends: nobody uses them any more.
  private func destroyInPlace(_ span: HeapSpan) {
    guard let destroy = layouts.destroy(of: span.layout) else { return }
    var objects = 0
    span.forEachAllocated { address in
      destroy(address, 1, Int(span.slotSize))
      objects += 1
    }
    count(objects)
  }

  private func count(_ objects: Int) {
    // Pairs with HeapFigures.
    counters.destroyedObjects.add(objects, ordering: .releasing)
  }

  // MARK: - The end

  /// The threads of all heaps that destroy.
  private static let threads = HeapLock<Set<UInt64>>([], rank: .control)

  /// The calling thread destroys values, of this heap or another one.
  static var isOnDestroyingThread: Bool {
    let thread = heap_thread_self()
    return threads.withLock { $0.contains(thread) }
  }

  /// Has the thread destroy everything that is queued or left, and end. On return it has. False: there
  /// is no thread, and `ending` was not called.
  func end(_ ending: @escaping Ending) -> Bool {
    guard let thread = beginEnd(ending) else { return false }
    thread.join()
    return true
  }

  /// The same, and does not wait for it.
  func end(later ending: @escaping Ending) -> Bool {
    guard let thread = beginEnd(ending) else { return false }
    thread.detach()
    return true
  }

  private func beginEnd(_ ending: @escaping Ending) -> HeapThread? {
    let thread = state.withLock { state -> HeapThread? in
      guard let thread = state.thread.take() else { return nil }
      state.ending = ending
      return thread
    }
    if thread != nil { wake() }
    return thread
  }
}
