// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Stores of more than a word while the barrier flag is up.
//
//     source ──each word once──► buffer ──► check, record ──► destination
//
// The source may lie in the heap, and another thread may store there at the same time. If that
// thread found the flag down, nobody records what it stores, and the card that it sets is the
// source's. If the words were read to be recorded, and read again to be stored, its value could come
// in between: it would be stored here, too, without a record or a card
// (Documentation/Protocol.md, "Why a copy reads its source once").
//
// So each word is read once, with an atomic load, which the compiler may not repeat. What has been
// read is recorded, and that is stored. No safepoint lies between the test of the flag and the last
// store (WriteBarrier).
//
// The buffer is small, so a long copy goes piece by piece. A single small value is read, and stored,
// by HeapSlot, which knows its size.
//
// Model: Verification/generations.pml, the copy

internal import Collector
internal import Synchronization

/// Stores of several words that are recorded.
enum RecordedStore {
  /// Bytes of the buffer. A value that is larger gets a buffer of its own, from the program's
  /// allocator.
  private static var bufferSize: Int { 1024 }

  /// Replaces `count` values of a type by those at `source`, which may overlap them, and records what
  /// is overwritten and what is written.
  ///
  /// Called while the flag is up.
  ///
  /// - Precondition: a value of the type has a whole word at least, and is aligned to words.
  static func replace(_ type: Any.Type, at destination: UInt, from source: UInt, count: Int) {
    guard count > 0 else { return }
    let map = FieldMap.of(type)
    if map.stride <= bufferSize {
      // The size is a constant, so the buffer lies on the stack.
      unsafe withUnsafeTemporaryAllocation(byteCount: bufferSize, alignment: 16) {
        unsafe replace(type, map, at: destination, from: source, count: count, through: $0)
      }
    } else {
      unsafe withUnsafeTemporaryAllocation(byteCount: map.stride, alignment: 16) {
        unsafe replace(type, map, at: destination, from: source, count: count, through: $0)
      }
    }
  }

  /// Records the store of a value from `source`, which nobody else writes, if there is nothing to check;
  /// whether it has. Stores nothing.
  @inline(__always)
  static func recordUnchecked(_ type: Any.Type, at destination: UInt, from source: UInt) -> Bool {
    guard let mutator = WriteBarrier.uncheckedMutator(for: destination) else { return false }
    let map = FieldMap.of(type, recordedBy: mutator)
    unsafe WriteBarrier.recordAggregate(
      destination: destination, source: source, count: 1, stride: map.stride,
      references: map.references, ambiguous: map.ambiguous, by: mutator)
    return true
  }

  private static func replace(
    _ type: Any.Type, _ map: FieldMap, at destination: UInt, from source: UInt, count: Int,
    through buffer: UnsafeMutableRawBufferPointer
  ) {
    let mutator = map.isNoscan ? nil : WriteBarrier.mutator(for: destination)
    let perPiece = buffer.count / map.stride
    let values = UInt(bitPattern: buffer.baseAddress)
    // From the end if the values move up, so that none is overwritten before it has been read.
    let isForward = destination <= source
    var done = 0
    while done < count {
      let length = min(perPiece, count - done)
      let first = isForward ? done : count - done - length
      let offset = UInt(first * map.stride)
      // Behind the last value may be another field.
      let size = (length - 1) * map.stride + map.size
      copy(size, from: source + offset, to: values)
      if let mutator {
        record(length, of: type, map, at: destination + offset, from: values, by: mutator)
      }
      // Pair: the address dependency of whoever loads one of the references.
      atomicMemoryFence(ordering: .releasing)
      copy(size, from: values, to: destination + offset)
      done += length
    }
  }

  /// Records that `count` values are about to become zero.
  ///
  /// Called while the flag is up. Stores nothing.
  ///
  /// - Precondition: a value of the type holds references.
  static func recordClearing(_ type: Any.Type, at destination: UInt, count: Int) {
    let map = FieldMap.of(type)
    let mutator = WriteBarrier.mutator(for: destination)
    if mutator.isChecked { StoreCheck.checkHolder(of: destination, by: mutator) }
    unsafe withUnsafeTemporaryAllocation(byteCount: map.stride, alignment: 16) { zeroes in
      unsafe zeroes.initializeMemory(as: UInt8.self, repeating: 0)
      for offset in stride(from: 0, to: UInt(count * map.stride), by: map.stride) {
        unsafe WriteBarrier.recordAggregate(
          destination: destination + offset, source: UInt(bitPattern: zeroes.baseAddress), count: 1,
          stride: map.stride, references: map.references, ambiguous: map.ambiguous, by: mutator)
      }
    }
  }

  /// Records the store of values from the buffer, after checking it in checked mode.
  private static func record(
    _ count: Int, of type: Any.Type, _ map: FieldMap, at destination: UInt, from values: UInt,
    by mutator: AttachedMutator
  ) {
    if mutator.isChecked {
      for offset in stride(from: 0, to: UInt(count * map.stride), by: map.stride) {
        mutator.checkStore(of: type, at: destination + offset, from: values + offset)
      }
    }
    unsafe WriteBarrier.recordAggregate(
      destination: destination, source: values, count: count, stride: map.stride,
      references: map.references, ambiguous: map.ambiguous, by: mutator)
  }

  /// Copies bytes, word by word: each word is read once and written once. Words are aligned.
  static func copy(_ size: Int, from source: UInt, to destination: UInt) {
    // SAFETY: the caller's values, and the buffer for them.
    let from = unsafe UnsafeMutableRawPointer(bitPattern: source).unsafelyUnwrapped
    let to = unsafe UnsafeMutableRawPointer(bitPattern: destination).unsafelyUnwrapped
    let fromWords = unsafe from.assumingMemoryBound(to: Atomic<UInt>.self)
    let toWords = unsafe to.assumingMemoryBound(to: Atomic<UInt>.self)
    let count = size / 8
    for index in 0..<count {
      // Relaxed: ordered by the fence; atomic so that no reference is read in halves, or twice.
      unsafe toWords[index].store(fromWords[index].load(ordering: .relaxed), ordering: .relaxed)
    }
    // The tag of an enum may lie behind the last whole word.
    for offset in count * 8..<size {
      unsafe to.storeBytes(
        of: from.load(fromByteOffset: offset, as: UInt8.self), toByteOffset: offset,
        as: UInt8.self)
    }
  }
}
