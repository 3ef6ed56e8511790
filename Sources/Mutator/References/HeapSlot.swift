// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A place in a heap object, and how a value is stored there.
//
// A slot is a field of an object or an element of an array. There are four kinds of values,
// told apart by their type, so that in specialised code three of the four are not even compiled:
//
//   plain      shorter than a word or less aligned, or one of the numbers and pointers of the
//              standard library: no reference can be in it, a store is a store
//   owned      ARC manages it, or a part of it: what the slot held is released when the new value is
//              there (OwnedStore)
//   one word   8 bytes: if the barrier flag is up, record, else set the card; then a releasing
//              store
//   wider      if the flag is up, record a copy and store that (a large one: RecordedStore). Else
//              set the cards; then a releasing fence, and a relaxed store of each word. What is
//              left behind the last whole word holds no reference and is copied
//
//     load flag ─ compare ─ branch ─ card ─ store   10 instructions for a reference on x86-64
//        ├─────────► recordReference: WriteBarrier, whatever the type
//        └─────────► recordSlow: field map of the type, WriteBarrier
//
// A wide value that is stored may be a copy of one in the heap, and the compiler may take the heap's
// own words for the copy. So the slow half reads each word once, and stores what it has recorded.
//
// Why word by word: the collector, and other threads, read the words while they are stored. A
// plain store of a wide value may become a memcpy, which promises nothing about the words in it,
// and half a reference would be read. Atomic words cost the same as plain ones.
//
// Recording comes before the store, and there is no safepoint between the test of the flag and
// the end of the store. So a handshake falls before or after all of it (see WriteBarrier). The
// store is releasing, so that an object that is published through the heap is seen initialised
// (Note [Reference stores] in Documentation/MemoryOrdering.md).
//
// Loads are plain. What another thread stores in the meantime may or may not be seen, and a
// reference is seen whole; for more, see HeapRef+Atomics.
//
// Two others store, too, and keep to the same rules: HeapRef+Atomics (one word, with an order of
// the caller's choice) and ElementMove (many values). First values are stored plainly, before
// anybody else knows the object.

public import CHeapShims
internal import Collector
public import Synchronization

/// A place in a heap object that holds a value.
@safe @frozen @usableFromInline package struct HeapSlot<Value> {
  @usableFromInline package let pointer: UnsafeMutablePointer<Value>

  /// The slot at an address inside a live object, where a value of the type lies.
  @inlinable @inline(__always)
  package init(_ address: UnsafeMutableRawPointer) {
    unsafe pointer = address.assumingMemoryBound(to: Value.self)
  }

  /// No reference can be in a value, and the compiler knows it.
  ///
  /// A false answer is no promise. Folds to a constant once `Value` is known; comparisons with
  /// generic types (`Int?`) would not.
  @inlinable @inline(__always)
  package static var isPlain: Bool {
    // Comparing the metatypes of pointers is no use of them.
    unsafe MemoryLayout<Value>.size < 8 || MemoryLayout<Value>.alignment < 8
      || Value.self == Int.self || Value.self == UInt.self || Value.self == Double.self
      || Value.self == Int64.self || Value.self == UInt64.self
      || Value.self == UnsafeRawPointer.self || Value.self == UnsafeMutableRawPointer.self
      || Value.self == ObjectIdentifier.self
  }

  /// A value that is not plain is one word.
  @inlinable @inline(__always)
  package static var isWord: Bool { MemoryLayout<Value>.size == 8 }

  /// A value is passed in registers.
  @inlinable @inline(__always)
  static var isSmall: Bool { MemoryLayout<Value>.size <= 32 }

  // MARK: - Fast path

  @inlinable @inline(__always)
  package func load() -> Value { unsafe pointer.pointee }

  /// Stores a value, with the write barrier for what references it may hold.
  @inlinable @inline(__always)
  package func store(_ value: Value) {
    if Self.isPlain {
      unsafe pointer.pointee = value
      return
    }
    // A constant once the type is known.
    if !_isPOD(Value.self) { return storeOwned(value) }
    if Self.isWord {
      if heap_barrier_is_up() { recordSlow(word: value) } else { markCards() }
      // Pair: the address dependency of whoever loads the reference.
      unsafe word.pointee.store(unsafeBitCast(value, to: UInt.self), ordering: .releasing)
      return
    }
    // Unprotected: no stack guard, since nothing writes through the pointer. Before the branch, so
    // that a large value is not copied once more.
    var value = value
    unsafe _withUnprotectedUnsafePointer(to: &value) {
      if heap_barrier_is_up() {
        // What fits into registers is passed in them.
        if Self.isSmall { return unsafe recordSlow($0.pointee) }
        return unsafe storeSlow(UnsafePointer($0))
      }
      markCards()
      // Pair: as above.
      atomicMemoryFence(ordering: .releasing)
      unsafe storeWords(UnsafeRawPointer($0))
    }
  }

  /// Makes the value zero, so that it keeps nothing alive any more.
  ///
  /// Nobody loads the value afterwards: zero may be none of its type.
  @inlinable @inline(__always)
  package func clear() {
    if Self.isPlain { return }
    if Self.isWord, !heap_barrier_is_up() {
      // Relaxed: zero publishes nothing.
      return unsafe word.pointee.store(0, ordering: .relaxed)
    }
    clearSlow()
  }

  @usableFromInline @inline(never)
  func clearSlow() { unsafe ElementMove.clear(Value.self, at: pointer, count: 1) }

  /// Sets the cards of the slot, for a store that is not recorded (CardTable).
  @inlinable @inline(__always)
  package func markCards() {
    if Self.isWord {
      heap_card_mark(address)
    } else {
      heap_card_mark_range(address, MemoryLayout<Value>.size)
    }
  }

  /// Stores a value of more than a word.
  ///
  /// The loop is unrolled once the size is known, and small values stay in registers.
  ///
  /// - Precondition: the value is aligned to words.
  @inlinable @inline(__always)
  func storeWords(_ source: UnsafeRawPointer) {
    let count = MemoryLayout<Value>.size &>> 3
    for index in 0..<count {
      // Relaxed: ordered by the fence; atomic so that no reference is seen in halves.
      unsafe word[index].store(
        source.load(fromByteOffset: index &<< 3, as: UInt.self), ordering: .relaxed)
    }
    // The tag of an enum may lie behind the last whole word, and the next field behind the tag.
    for offset in count &<< 3..<MemoryLayout<Value>.size {
      unsafe UnsafeMutableRawPointer(pointer).storeBytes(
        of: source.load(fromByteOffset: offset, as: UInt8.self), toByteOffset: offset,
        as: UInt8.self)
    }
  }

  /// The slot as an atomic word.
  ///
  /// - Precondition: `isWord`.
  @inlinable @inline(__always)
  package var word: UnsafeMutablePointer<Atomic<UInt>> {
    unsafe UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: Atomic<UInt>.self)
  }

  /// The slot's address.
  @inlinable package var address: UInt { UInt(bitPattern: unsafe pointer) }

  // MARK: - Slow path

  /// Records what a store of a word is about to overwrite and to write.
  ///
  /// Called while the flag is up. A reference is recorded without a look at its type, unless there is
  /// something to check.
  @inlinable @inline(__always)
  package func recordSlow(word value: Value) {
    // Specialised, this is no question: the compiler sees that the type conforms.
    if Value.self is any _HeapReferenceWord.Type,
      recordReference(at: address, unsafe unsafeBitCast(value, to: UInt.self))
    {
      return
    }
    recordSlow(value)
  }

  /// Records the references that a store of `value` is about to overwrite and to write. If the value
  /// is wider than a word, stores it as well.
  ///
  /// Called while the flag is up. Inlinable only so that it is specialised: the fast path then
  /// passes the value in registers and materialises no metadata.
  @inlinable @inline(never)
  package func recordSlow(_ value: Value) {
    if Self.isWord {
      unsafe withUnsafePointer(to: value) {
        recordWord(of: Value.self, at: address, from: UInt(bitPattern: $0))
      }
      return
    }
    assert(Self.isSmall, "a value of \(MemoryLayout<Value>.size) bytes is stored by storeSlow")
    // Unprotected: as above.
    var value = value
    unsafe _withUnprotectedUnsafePointer(to: &value) { source in
      var words = InlineArray<4, UInt>(repeating: 0)
      unsafe _withUnprotectedUnsafeMutablePointer(to: &words) { words in
        let copy = unsafe HeapSlot(UnsafeMutableRawPointer(words))
        unsafe copy.storeWords(UnsafeRawPointer(source))
        if recordSmall(Value.self, at: address, from: copy.address) {
          // Pair: the address dependency of whoever loads one of the references.
          atomicMemoryFence(ordering: .releasing)
          unsafe storeWords(UnsafeRawPointer(words))
        } else {
          storeRecorded(Value.self, at: address, from: copy.address)
        }
      }
    }
  }

  /// Stores a value that ARC manages, or with parts of that kind.
  ///
  /// What the slot held is released last, and that may run any code.
  @inlinable @inline(never)
  func storeOwned(_ value: Value) {
    // Counted once more: for the slot.
    var value = value
    unsafe withUnsafeMutablePointer(to: &value) {
      exchangeOwned(Value.self, at: address, with: UInt(bitPattern: $0))
    }
    // Now it is what the slot held, and it ends here.
  }

  /// The same for a value that does not fit into registers.
  @inlinable @inline(never)
  func storeSlow(_ value: UnsafePointer<Value>) {
    storeRecorded(Value.self, at: address, from: UInt(bitPattern: value))
  }
}

/// Records the store of a reference, or of none, if there is nothing to check; whether it has.
@usableFromInline @inline(never)
func recordReference(at destination: UInt, _ reference: UInt) -> Bool {
  WriteBarrier.recordUnchecked(slot: destination, new: reference)
}

/// Records the store of a word of a type, whatever it holds, after checking it in checked mode.
@usableFromInline @inline(never)
func recordWord(of type: Any.Type, at destination: UInt, from source: UInt) {
  let map = FieldMap.of(type)
  if map.isNoscan { return }
  let mutator = WriteBarrier.mutator(for: destination)
  if mutator.isChecked { mutator.checkStore(of: type, at: destination, from: source) }
  if map.isReferenceWord {
    return WriteBarrier.record(slot: destination, new: heap_load_word(source), by: mutator)
  }
  unsafe WriteBarrier.recordAggregate(
    destination: destination, source: source, count: 1, stride: map.stride,
    references: map.references, ambiguous: map.ambiguous, by: mutator)
}

/// Records the store of a small value of more than a word, if there is nothing to check; whether it has.
@usableFromInline @inline(never)
func recordSmall(_ type: Any.Type, at destination: UInt, from source: UInt) -> Bool {
  RecordedStore.recordUnchecked(type, at: destination, from: source)
}

/// Exchanges the value of a type in a slot, part of which ARC manages, with another one.
@usableFromInline @inline(never)
func exchangeOwned(_ type: Any.Type, at destination: UInt, with value: UInt) {
  OwnedStore.exchange(type, at: destination, with: value)
}

/// Stores a value of more than a word of a type, and records the store.
@usableFromInline @inline(never)
func storeRecorded(_ type: Any.Type, at destination: UInt, from source: UInt) {
  RecordedStore.replace(type, at: destination, from: source, count: 1)
}
