// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thread inside a heap.
//
// One word: the thread's state in the heap. Allocating is inlined into the caller and consists of
// a hash of the type's address, a compare, a bump of a cursor and the store of the value:
//
//     load table, mask · hash · load key, cursor, limit · compare both · advance · store
//
// There is no call, no retain, no exclusivity check and no lazy initialisation on that path. For a
// two-word object it has about 15 instructions, 27 with the call of the slow half and the saving
// of registers around it (Scripts/check-fast-path.sh reads the machine code and has the numbers).
// Everything else is behind `allocateSlow`.
//
// A mutator is valid inside the `withMutator` call that made it, on its thread. It is not Sendable.
// Where it is used all the same, the slow halves stop the program (AttachedMutator.requireRunning):
// in a blocking region, after the call, and on another thread. The inlined half looks at nothing;
// it finds no run in a mutator that is blocked or that nobody has, and in checked mode in none. So
// unchecked it does not see that it runs on another thread than the mutator's.
//
// Arrays and strings: HeapMutator+Arrays.swift. The slow half: Allocation.swift.

public import Collector
public import Heap

/// A thread's access to a heap: allocation, safepoints, collection.
///
/// ``ManagedHeap/withMutator(_:)`` makes one and passes it to its body. It is valid inside that
/// call, on that thread.
@safe @frozen public struct HeapMutator {
  @usableFromInline package let attached: AttachedMutator

  @usableFromInline package init(_ attached: AttachedMutator) { self.attached = attached }

  // MARK: - Fast path

  /// Allocates an object.
  ///
  /// Never fails: without memory, or for a type that cannot be kept in the heap, the program stops
  /// with a message.
  ///
  /// A safepoint: a collection may take place before the object exists.
  ///
  /// - Parameter value: what the object is at first.
  /// - Returns: a reference to the object.
  /// - Complexity: O(size of the object), a few nanoseconds for small ones.
  @inlinable @inline(__always)
  public func allocate<Object: HeapObject>(_ value: Object) -> HeapRef<Object> {
    let entry = unsafe entry(for: Object.self)
    guard unsafe hasSlot(entry, Object.self) else { return allocateSlow(value) }
    let slot = unsafe takeSlot(entry)
    unsafe slot.initializeMemory(as: Object.self, to: value)
    return unsafe HeapRef(_raw: slot)
  }

  /// Allocates an object, or throws when there is no memory for it after a full collection, or
  /// when its type cannot be kept in the heap.
  ///
  /// - Parameter value: what the object is at first.
  /// - Returns: a reference to the object.
  @inlinable
  public func tryAllocate<Object: HeapObject>(
    _ value: Object
  ) throws(HeapError) -> HeapRef<Object> {
    let entry = unsafe entry(for: Object.self)
    guard unsafe hasSlot(entry, Object.self) else { return try tryAllocateSlow(value) }
    let slot = unsafe takeSlot(entry)
    unsafe slot.initializeMemory(as: Object.self, to: value)
    return unsafe HeapRef(_raw: slot)
  }

  /// Where the thread's cache has a type's run, if it has one.
  @inlinable @inline(__always)
  func entry<Object: HeapObject>(for type: Object.Type) -> UnsafeMutablePointer<CacheEntry> {
    let state = unsafe attached.state
    let home = ThreadCache.home(of: CacheKey.object(type), mask: unsafe state.pointee.cache.mask)
    return unsafe state.pointee.cache.entries + Int(bitPattern: home)
  }

  /// Whether the entry is the type's and its run has a free slot.
  @inlinable @inline(__always)
  func hasSlot<Object: HeapObject>(
    _ entry: UnsafeMutablePointer<CacheEntry>, _ type: Object.Type
  ) -> Bool {
    unsafe entry.pointee.key == CacheKey.object(type) && entry.pointee.cursor < entry.pointee.limit
  }

  /// The next slot of the run.
  @inlinable @inline(__always)
  func takeSlot(_ entry: UnsafeMutablePointer<CacheEntry>) -> UnsafeMutableRawPointer {
    let slot = unsafe entry.pointee.cursor
    unsafe entry.pointee.cursor = slot &+ entry.pointee.slotSize
    // SAFETY: a slot of a span, never 0.
    return unsafe UnsafeMutableRawPointer(bitPattern: slot).unsafelyUnwrapped
  }

  /// Lets the collector have this thread's answer, if it waits for one.
  ///
  /// One load and a branch when it does not. Call it in long loops that do not allocate: a thread
  /// that reaches no safepoint delays the end of a collection. Allocating is a safepoint.
  ///
  /// It polls this heap only. A thread that has entered several heaps answers for all of them
  /// when it allocates, or polls each.
  @inlinable @inline(__always)
  public func safepoint() {
    if attached.isRequested { safepointSlow() }
  }

  // MARK: - Slow path

  /// Allocates an object whose type has no run with a free slot here: because the run is used up,
  /// or because the slow half is asked for (checked mode, stress, tiny and large objects).
  ///
  /// Inlinable only so that it is specialised: the fast half then passes the value in registers
  /// and materialises no metadata.
  @inlinable @inline(never)
  func allocateSlow<Object: HeapObject>(_ value: Object) -> HeapRef<Object> {
    if let slot = unsafe slotOfNextRun(Object.self) {
      unsafe slot.initializeMemory(as: Object.self, to: value)
      return unsafe HeapRef(_raw: slot)
    }
    unsafe withUnsafePointer(to: value) { unsafe checkSlow(Object.self, UnsafeRawPointer($0)) }
    let slot = unsafe slotSlow(Object.self)
    unsafe slot.initializeMemory(as: Object.self, to: value)
    return unsafe HeapRef(_raw: slot)
  }

  /// The same, throwing.
  @inlinable @inline(never)
  func tryAllocateSlow<Object: HeapObject>(
    _ value: Object
  ) throws(HeapError) -> HeapRef<Object> {
    if let slot = unsafe slotOfNextRun(Object.self) {
      unsafe slot.initializeMemory(as: Object.self, to: value)
      return unsafe HeapRef(_raw: slot)
    }
    unsafe withUnsafePointer(to: value) { unsafe checkSlow(Object.self, UnsafeRawPointer($0)) }
    let slot = unsafe try trySlotSlow(Object.self)
    unsafe slot.initializeMemory(as: Object.self, to: value)
    return unsafe HeapRef(_raw: slot)
  }

  /// The first slot of the next run, if that is found without further ado.
  @inlinable @inline(__always)
  func slotOfNextRun<Object: HeapObject>(_ type: Object.Type) -> UnsafeMutableRawPointer? {
    let entry = unsafe entry(for: type)
    guard unsafe attached.changeRun(entry, key: CacheKey.object(type)) else { return nil }
    return unsafe takeSlot(entry)
  }

  /// In checked mode, stops the program if a value must not be an object's first value.
  @usableFromInline @inline(never)
  func checkSlow(_ type: any HeapObject.Type, _ value: UnsafeRawPointer) {
    attached.requireRunning()
    // A type that cannot be kept in the heap is refused by the allocation itself.
    guard attached.isChecked, (try? FieldMap.find(field: type)) != nil else { return }
    attached.checkFirstValue(of: type, at: UInt(bitPattern: value))
  }

  @usableFromInline @inline(never)
  func slotSlow(_ type: any HeapObject.Type) -> UnsafeMutableRawPointer {
    do throws(HeapError) {
      return unsafe try trySlotSlow(type)
    } catch {
      broken(error.description)
    }
  }

  @usableFromInline @inline(never)
  func trySlotSlow(_ type: any HeapObject.Type) throws(HeapError) -> UnsafeMutableRawPointer {
    let address = try attached.allocateObject(type)
    // SAFETY: a slot, never 0.
    return unsafe UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
  }

  @usableFromInline @inline(never)
  func safepointSlow() {
    attached.requireRunning()
    Safepoints.answer()
  }

  // MARK: - Other

  /// The heap that the thread is in.
  public var heap: ManagedHeap {
    attached.requireOwn()
    return ManagedHeap.of(attached)
  }

  /// The innermost heap that the calling thread is in, as a mutator.
  ///
  /// Nil outside of all heaps, and inside ``blocking(_:)``, where no heap may be touched.
  ///
  /// Use it on the calling thread only, and never send it, or what it allocates, to another thread or
  /// to a task. The compiler does not stop you: it takes the result of this property for a value
  /// that nothing else refers to. The thread and the other one would then allocate the same memory.
  /// Checked mode stops the program when the mutator is used on another thread; reading a reference
  /// there is not checked. The mutator that
  /// ``ManagedHeap/withMutator(_:)`` passes to its body cannot be sent.
  public static var current: HeapMutator? {
    guard let attached = AttachedMutator.current, !attached.isBlocked else { return nil }
    return HeapMutator(attached)
  }

  /// Tells the heap of memory outside of it that is taken because of its objects, and goes when they do.
  ///
  /// A small object may stand for a large buffer, an image or a file. The collector sees the object
  /// only, and would leave it for longer than the memory allows. Bytes that are told count towards the
  /// goal and ``ManagedHeap/memoryLimit`` as if objects were so much larger. They do not count towards
  /// ``ManagedHeap/hardLimit``.
  ///
  /// ```swift
  /// let pixels = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
  /// mutator.adjustExternalMemory(by: size)
  /// …
  /// pixels.deallocate()
  /// mutator.adjustExternalMemory(by: -size)
  /// ```
  ///
  /// - Parameter bytes: how many more; negative when memory has been given back.
  /// - Precondition: no more is given back than was taken.
  /// - Complexity: O(1). Taking may wait for a collection, as allocating does.
  public func adjustExternalMemory(by bytes: Int) {
    attached.requireRunning()
    attached.heap.safepoints.adjustExternal(by: bytes, attached, attached.heap.pacer)
  }

  /// A full collection: when it returns, everything that was unreachable at the call is swept.
  public func collect() {
    attached.requireRunning()
    attached.heap.collectAndWait()
  }

  /// Runs code that may block (input and output, locks, sleep), during which the collector does
  /// not wait for this thread.
  ///
  /// References that the caller holds stay valid. The body must not touch any heap: no
  /// allocation, no field of an object, no root. A mutator that is used inside its own blocking
  /// region stops the program; only blocking once more is allowed. The body may call
  /// `withMutator`. A reference that it gets there is valid inside that call only: between two such
  /// calls, nobody looks at the body's own variables.
  ///
  /// - Parameter body: the code that may block.
  /// - Returns: what the body returns.
  public func blocking<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    attached.requireOwn()
    var outcome: Swift.Result<Result, Failure>?
    CollectedHeap.blocking {
      do throws(Failure) {
        outcome = .success(try body())
      } catch {
        outcome = .failure(error)
      }
    }
    // Set: the body has run.
    return try outcome!.get()
  }
}

/// A mutator belongs to one thread.
@available(
  *, unavailable,
  message: "a mutator belongs to one thread: hand on the heap, and call its withMutator there"
)
extension HeapMutator: Sendable {}
