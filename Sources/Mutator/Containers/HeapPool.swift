// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Objects that a program is done with and will want again.
//
// A pool keeps for each thread the objects that the thread has put there, and gives them back to it. The
// collector does not look into a pool. So a pooled object is garbage as soon as a collection begins, and
// the pool forgets it then: a pool holds no memory that a collection could have freed.
//
//     HeapPool ──► stores, by mutator ──► PoolStore { generation, count, objects… }
//
// Why no object is given back that was freed? A thread's stack is scanned once in a cycle, in its answer
// to `scan`. Until then, an object that the thread holds, or could take from its pool, lives: no cycle
// has looked for it yet. From then on until the thread's answer to `returnSpans` it takes nothing and
// puts nothing, which it knows by allocating black. After `returnSpans` its generation is another one,
// and everything that was put before is forgotten. What it puts then was reachable when that cycle had
// ended to mark, or is younger, so the sweep that follows leaves it. Between putting or taking and the
// thread's variables there is no safepoint, so no answer falls in between.
//
// A thread that leaves the heap leaves what it has put there. Its mutator is idle then, and the
// collector answers for it. So the thread finds it again if there was no collection meanwhile.
//
// Owner       a store: the mutator's thread, and whoever drops the pool.
// Guarded by  the lock of the table of stores, adding one; reading by nothing (MetatypeTable).

internal import Collector
internal import Heap
internal import Synchronization

/// Keeps objects that a thread is done with, until it wants one of the same type or a collection
/// begins.
///
/// Taking an object from a pool saves its allocation, and what the collector would have to do about the
/// one that was put there. That pays for large objects that live for a short time:
///
/// ```swift
/// let buffers = HeapPool<Buffer>(in: mutator)
/// let buffer = buffers.get(in: mutator) ?? mutator.allocate(Buffer())
/// …
/// buffers.put(buffer, in: mutator)
/// ```
///
/// Each thread gets back what it has put there itself, the last one first, as it was when it was put. A
/// collection empties the pool, so a pool keeps nothing alive: an object that nobody wants any more is
/// freed as any other. The pool itself may be kept anywhere and used by any thread inside
/// `withMutator`.
public final class HeapPool<Object: HeapObject>: Sendable {
  private let heap: ManagedHeap
  private let stores = MetatypeTable()

  /// Makes an empty pool.
  ///
  /// - Parameter mutator: the calling thread's mutator, of the heap whose objects the pool is for.
  public init(in mutator: HeapMutator) {
    mutator.attached.requireRunning()
    heap = mutator.heap
  }

  deinit {
    stores.forEachValue { PoolStore(address: $0).destroy() }
  }

  /// Takes an object that the calling thread has put there, if a collection has not taken it.
  ///
  /// - Parameter mutator: the calling thread's mutator.
  /// - Returns: the object that was put there last, as it was then, or nil.
  /// - Precondition: `mutator` is of the heap that the pool was made in.
  /// - Complexity: O(1).
  public func get(in mutator: HeapMutator) -> HeapRef<Object>? {
    check(mutator)
    let attached = mutator.attached
    guard let address = stores.find(attached.address) else { return nil }
    guard let object = PoolStore(address: address).take(attached) else { return nil }
    // SAFETY: an object of this type was put there, and it lives.
    return unsafe UnsafeMutableRawPointer(bitPattern: object).map { unsafe HeapRef(_raw: $0) }
  }

  /// Puts an object there, for the calling thread to take again.
  ///
  /// The program must not use the object any more, nor let another one lead to it: whoever takes it
  /// changes it. References in it keep nothing alive longer than the pool keeps the object.
  ///
  /// - Parameters:
  ///   - object: what is not needed at present.
  ///   - mutator: the calling thread's mutator.
  /// - Precondition: `mutator` is of the heap that the pool was made in, and so is `object`.
  /// - Complexity: O(1) on average over many calls.
  public func put(_ object: HeapRef<Object>, in mutator: HeapMutator) {
    check(mutator)
    let attached = mutator.attached
    let word = UInt(bitPattern: unsafe object._raw)
    StoreCheck.checkOwner(of: word, storedInto: "a HeapPool<\(Object.self)>", by: attached)
    let address =
      stores.find(attached.address)
      ?? stores.find(attached.address) { () throws(Never) in PoolStore.make().address }
    PoolStore(address: address).put(word, attached)
  }

  private func check(_ mutator: HeapMutator) {
    mutator.attached.requireRunning()
    require(
      mutator.attached.belongs(to: heap.core),
      "a HeapPool was used with a mutator of another heap: use it inside withMutator of its own")
  }
}

/// What a thread has put into a pool.
@safe private struct PoolStore {
  @safe private struct Record {
    /// Of the mutator when the objects were put there. Others are forgotten.
    var generation: Generation
    var count = 0
    var capacity = 0
    var objects: UnsafeMutablePointer<UInt>?
  }

  let address: UInt

  private var record: UnsafeMutablePointer<Record> {
    // SAFETY: the address of a record, which lives as long as the pool.
    unsafe UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  static func make() -> PoolStore {
    let record = UnsafeMutablePointer<Record>.allocate(capacity: 1)
    unsafe record.initialize(to: Record(generation: .first))
    return PoolStore(address: UInt(bitPattern: record))
  }

  func destroy() {
    unsafe record.pointee.objects?.deallocate()
    unsafe record.deallocate()
  }

  /// Whether objects may be taken and put now. Forgets those of before a collection.
  private func open(_ mutator: AttachedMutator) -> Bool {
    let state = unsafe mutator.state
    // Between its answers to `scan` and to `returnSpans`, nothing is certain.
    guard unsafe !state.pointee.allocatesBlack else { return false }
    if unsafe record.pointee.generation != state.pointee.generation {
      unsafe record.pointee.generation = state.pointee.generation
      unsafe record.pointee.count = 0
    }
    return true
  }

  func take(_ mutator: AttachedMutator) -> UInt? {
    guard open(mutator), unsafe record.pointee.count > 0 else { return nil }
    unsafe record.pointee.count -= 1
    return unsafe record.pointee.objects?[record.pointee.count]
  }

  func put(_ object: UInt, _ mutator: AttachedMutator) {
    guard open(mutator) else { return }
    let (count, capacity) = unsafe (record.pointee.count, record.pointee.capacity)
    if count == capacity { grow() }
    unsafe record.pointee.objects?[count] = object
    unsafe record.pointee.count = count + 1
  }

  private func grow() {
    let capacity = max(16, unsafe 2 * record.pointee.capacity)
    let objects = UnsafeMutablePointer<UInt>.allocate(capacity: capacity)
    if let old = unsafe record.pointee.objects {
      unsafe objects.update(from: old, count: record.pointee.count)
      unsafe old.deallocate()
    }
    unsafe (record.pointee.objects, record.pointee.capacity) = (objects, capacity)
  }
}
