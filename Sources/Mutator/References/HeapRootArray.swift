// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Many roots at the price of one.
//
// A root array is a root of an array in the heap, which is where the collector looks anyway. The
// references lie in chunks of equal size, so the array grows without moving one of them:
//
//     root ─► directory [ • | • | nil | … ]      doubled when all its chunks are full
//                         │   └─► chunk 1 [ ref | ref | nil | … ]
//                         └─────► chunk 0 [ ref | ref | … ]
//
// A word that is not in use is nil, so nothing is kept alive that was taken out.
//
// Several threads may use one root array at once, hence the lock. Nothing is allocated while it is
// held, because allocating is a safepoint: a thread that waits for the lock comes to none. So a new
// chunk or directory is made first, and used if it is still wanted. A reference is stored as into an
// object: with the write barrier, or its card.
//
// Guarded by: the lock, all but the heap.

internal import CHeapShims
internal import Collector
internal import Heap
internal import Synchronization

/// The references of a root array, as words.
private final class RootWords: Sendable {
  typealias Chunk = HeapArray<HeapValue>
  typealias Directory = HeapArray<Chunk?>

  private struct State {
    /// References in use.
    var count = 0
    /// References for which there is room.
    var capacity = 0

    func check(_ index: Int) {
      require(
        index >= 0 && index < count,
        "index \(index) of a HeapRootArray with \(count) reference\(count == 1 ? "" : "s")")
    }
  }

  /// 4 KiB: little for a small array, and the directory of a million references has 16 KiB.
  private static let chunkSize = 512
  private static let firstDirectory = 8

  private let directory: HeapRoot<Directory>
  private let state = HeapLock(State(), rank: .rootArrays)

  init(in mutator: HeapMutator) {
    directory = HeapRoot(Self.makeDirectory(Self.firstDirectory, in: mutator), in: mutator)
  }

  var count: Int { state.withLock { $0.count } }

  /// Stops the program if a mutator may not use the array.
  func check(_ mutator: HeapMutator) { directory.check(mutator) }

  // MARK: - Words

  func get(at index: Int, in mutator: HeapMutator) -> UInt {
    state.withLock { state in
      state.check(index)
      return slot(index, in: mutator).load().bits
    }
  }

  func set(_ word: UInt, at index: Int, in mutator: HeapMutator) {
    state.withLock { state in
      state.check(index)
      store(word, at: index, in: mutator)
    }
  }

  /// Adds a word; false: there is no room, and `grow` has to be called.
  func append(_ word: UInt, in mutator: HeapMutator) -> Bool {
    state.withLock { state in
      guard state.count < state.capacity else { return false }
      store(word, at: state.count, in: mutator)
      state.count += 1
      return true
    }
  }

  func popLast(in mutator: HeapMutator) -> UInt? {
    state.withLock { state -> UInt? in
      guard state.count > 0 else { return nil }
      state.count -= 1
      let word = slot(state.count, in: mutator).load().bits
      store(0, at: state.count, in: mutator)
      return word
    }
  }

  func removeAll(in mutator: HeapMutator) {
    let empty = Self.makeDirectory(Self.firstDirectory, in: mutator)
    state.withLock { state in
      directory.set(empty, in: mutator)
      state = State()
    }
  }

  // MARK: - Places

  /// The place of a reference. The lock is held.
  private func slot(_ index: Int, in mutator: HeapMutator) -> HeapSlot<HeapValue> {
    guard let chunk = directory.get(in: mutator)[index / Self.chunkSize] else {
      broken("a HeapRootArray has no chunk for reference \(index)")
    }
    return chunk.slot(at: index % Self.chunkSize)
  }

  /// Stores a word that has been checked. The lock is held.
  private func store(_ word: UInt, at index: Int, in mutator: HeapMutator) {
    let slot = slot(index, in: mutator)
    if heap_barrier_is_up() {
      WriteBarrier.record(slot: slot.address, new: word, by: mutator.attached)
    } else {
      slot.markCards()
    }
    // Pair: the address dependency of whoever loads the reference.
    unsafe slot.word.pointee.store(word, ordering: .releasing)
  }

  // MARK: - Growth

  private static func makeDirectory(_ count: Int, in mutator: HeapMutator) -> Directory {
    mutator.allocateArray(of: Chunk?.self, count: count, repeating: nil)
  }

  /// Makes room for more, unless another thread has meanwhile.
  func grow(in mutator: HeapMutator) {
    let capacity = state.withLock { $0.capacity }
    let place = capacity / Self.chunkSize
    let chunk = mutator.allocateArray(of: HeapValue.self, count: Self.chunkSize, repeating: .nil)
    let isFull = place >= directory.get(in: mutator).count
    let larger = isFull ? Self.makeDirectory(place * 2, in: mutator) : nil
    state.withLock { state in
      guard state.capacity == capacity else { return }
      let current = directory.get(in: mutator)
      if place < current.count {
        current[place] = chunk
      } else if let larger {
        for index in 0..<current.count { larger[index] = current[index] }
        larger[place] = chunk
        directory.set(larger, in: mutator)
      } else {
        // Emptied, and grown again: the caller looks once more.
        return
      }
      state.capacity = capacity + Self.chunkSize
    }
  }
}

/// Keeps what many references lead to alive from outside the heap.
///
/// A root array holds references of one type: ``HeapRef``, ``HeapArray``, ``HeapString``,
/// ``AnyHeapRef``, an optional of one, or ``HeapValue``. It may be shared between threads, which use it
/// inside `withMutator`, and dropped on any of them.
///
/// A reference in it takes 8 bytes of the heap, and no lock of the collector's. A ``HeapRoot`` is an
/// object with a reference count of its own.
///
/// ```swift
/// let stack = heap.withMutator { HeapRootArray<HeapRef<Node>>(in: $0) }
///
/// heap.withMutator { mutator in
///   stack.append(mutator.allocate(Node(key: 1)), in: mutator)
///   let top = stack.get(at: stack.count - 1, in: mutator)
/// }
/// ```
public final class HeapRootArray<Reference: _HeapReferenceWord>: Sendable {
  private let words: RootWords

  /// Makes an empty root array.
  ///
  /// - Parameter mutator: the calling thread's mutator.
  public init(in mutator: HeapMutator) { words = RootWords(in: mutator) }

  /// Makes a root array that holds one reference many times: nil, for example.
  ///
  /// - Parameters:
  ///   - reference: what to hold.
  ///   - count: how many times.
  ///   - mutator: the calling thread's mutator.
  /// - Complexity: O(`count`).
  public convenience init(repeating reference: Reference, count: Int, in mutator: HeapMutator) {
    require(count >= 0, "HeapRootArray(repeating:count:in:): the count is \(count)")
    self.init(in: mutator)
    for _ in 0..<count { append(reference, in: mutator) }
  }

  /// How many references there are.
  public var count: Int { words.count }

  /// Whether there are none.
  public var isEmpty: Bool { count == 0 }

  /// A reference.
  ///
  /// - Precondition: `index` is at least 0 and less than ``count``.
  /// - Complexity: O(1); takes a lock.
  public subscript(index: Int, in mutator: HeapMutator) -> Reference {
    get { get(at: index, in: mutator) }
    set { set(newValue, at: index, in: mutator) }
  }

  /// A reference.
  ///
  /// - Parameters:
  ///   - index: its place.
  ///   - mutator: the calling thread's mutator, of the heap that the array was made in.
  /// - Precondition: `index` is at least 0 and less than ``count``.
  /// - Complexity: O(1); takes a lock.
  public func get(at index: Int, in mutator: HeapMutator) -> Reference {
    words.check(mutator)
    return Self.reference(words.get(at: index, in: mutator))
  }

  /// Replaces a reference.
  ///
  /// - Parameters:
  ///   - reference: what to hold from now on.
  ///   - index: its place.
  ///   - mutator: the calling thread's mutator, of the heap that the array was made in.
  /// - Precondition: `index` is at least 0 and less than ``count``; `reference` leads into the heap
  ///   of the array.
  /// - Complexity: O(1); takes a lock.
  public func set(_ reference: Reference, at index: Int, in mutator: HeapMutator) {
    words.set(word(of: reference, checkedBy: mutator), at: index, in: mutator)
  }

  /// Adds a reference at the end.
  ///
  /// - Parameters:
  ///   - reference: what to hold.
  ///   - mutator: the calling thread's mutator, of the heap that the array was made in.
  /// - Precondition: `reference` leads into the heap of the array.
  /// - Complexity: O(1) on average; takes a lock. May collect.
  public func append(_ reference: Reference, in mutator: HeapMutator) {
    let word = word(of: reference, checkedBy: mutator)
    while !words.append(word, in: mutator) { words.grow(in: mutator) }
    // On the stack, as long as it is nowhere else.
    withExtendedLifetime(reference) {}
  }

  /// Takes the last reference out; nil if there is none.
  ///
  /// - Parameter mutator: the calling thread's mutator, of the heap that the array was made in.
  /// - Complexity: O(1); takes a lock.
  @discardableResult
  public func popLast(in mutator: HeapMutator) -> Reference? {
    words.check(mutator)
    guard let word = words.popLast(in: mutator) else { return nil }
    return Self.reference(word)
  }

  /// Takes all references out.
  ///
  /// - Parameter mutator: the calling thread's mutator, of the heap that the array was made in.
  /// - Complexity: O(1); takes a lock. May collect.
  public func removeAll(in mutator: HeapMutator) {
    words.check(mutator)
    words.removeAll(in: mutator)
  }

  private static func reference(_ word: UInt) -> Reference {
    // SAFETY: a word that was a reference of this type.
    unsafe unsafeBitCast(word, to: Reference.self)
  }

  private func word(of reference: Reference, checkedBy mutator: HeapMutator) -> UInt {
    words.check(mutator)
    return HeapRoot<Reference>.word(of: reference, checkedBy: mutator)
  }
}
