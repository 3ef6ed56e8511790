// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Many values at once: from one place in the heap to another, or to nowhere.
//
//   replace   values by others, which may overlap them
//   move      the same in pieces, with a safepoint after each, so that a gigabyte delays no handshake
//   fill      a new object that nobody else knows yet
//   clear     values that are not to be kept any more
//
// First the cards, for all of them, then the copy, without a safepoint between: so a handshake
// falls before or after the whole. The collector reads values with references at the same time
// and must not see half a reference. So they are copied word by word with atomic stores, since
// memmove promises nothing of the kind. Values without references are moved. While the barrier
// flag is up, RecordedStore copies the values and records them.
//
// Clearing sets no card: zero leads to no young object. While the flag is up, what is cleared is
// recorded as any value that is overwritten.
//
// A new object gets first values, for which there is no barrier (Documentation/Protocol.md). That
// holds up to the next safepoint. So a large new object is filled as an old one is.

internal import CHeapShims
internal import Collector
internal import Heap
internal import Synchronization

/// Copies and clears of several values, by their type.
@usableFromInline package enum ElementMove {
  /// Bytes copied between two safepoints. More makes a handshake wait longer, less asks oftener.
  @usableFromInline package static var piece: Int { 256 << 10 }

  /// Replaces values by those at `source`, which may overlap them. No safepoint.
  @usableFromInline @inline(never)
  static func replace(
    _ type: Any.Type, at destination: UnsafeMutableRawPointer, with source: UnsafeRawPointer,
    count: Int
  ) {
    guard count > 0 else { return }
    let map = FieldMap.of(type)
    let size = count &* map.stride
    if map.isNoscan { return unsafe destination.copyMemory(from: source, byteCount: size) }
    if heap_barrier_is_up() {
      return RecordedStore.replace(
        type, at: UInt(bitPattern: destination), from: UInt(bitPattern: source), count: count)
    }
    heap_card_mark_range(UInt(bitPattern: destination), size)
    // Pair: the address dependency of whoever loads one of the references.
    atomicMemoryFence(ordering: .releasing)
    unsafe copyWords(source, to: destination, size: size)
  }

  /// Moves values to another place in the heap, which may overlap theirs. A safepoint after each
  /// piece: the caller keeps the objects alive.
  @usableFromInline @inline(never)
  static func move(
    _ type: Any.Type, from source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer,
    stride: Int, count: Int
  ) {
    let perPiece = max(1, piece / max(stride, 1))
    // From the end if the values move up, so that none is overwritten too soon.
    let isForward = unsafe UnsafeRawPointer(destination) <= source
    var done = 0
    while done < count {
      let length = min(perPiece, count - done)
      let offset = (isForward ? done : count - done - length) * stride
      unsafe replace(type, at: destination + offset, with: source + offset, count: length)
      done += length
      if done < count { Safepoints.answer() }
    }
  }

  /// Gives values to a new object, which has been allocated since the last safepoint.
  @usableFromInline @inline(never)
  static func fill(
    _ type: Any.Type, at destination: UnsafeMutableRawPointer, from source: UnsafeRawPointer,
    count: Int
  ) {
    let map = FieldMap.of(type)
    let size = count &* map.stride
    guard size <= piece else {
      return unsafe move(type, from: source, to: destination, stride: map.stride, count: count)
    }
    if map.isNoscan {
      unsafe destination.copyMemory(from: source, byteCount: size)
    } else {
      unsafe copyWords(source, to: destination, size: size)
    }
  }

  /// Makes values zero. No safepoint.
  @usableFromInline @inline(never)
  static func clear(_ type: Any.Type, at destination: UnsafeMutableRawPointer, count: Int) {
    let map = FieldMap.of(type)
    guard count > 0, !map.isNoscan else { return }
    if heap_barrier_is_up() {
      RecordedStore.recordClearing(type, at: UInt(bitPattern: destination), count: count)
    }
    // SAFETY: a type that holds a reference has whole words.
    let words = unsafe destination.assumingMemoryBound(to: Atomic<UInt>.self)
    // Behind the last value may be another field.
    for word in 0..<((count &- 1) &* map.stride &+ map.size) / 8 {
      // Relaxed: zero publishes nothing; atomic so that no reference is seen in halves.
      unsafe words[word].store(0, ordering: .relaxed)
    }
  }

  /// The same in pieces, with a safepoint after each: the caller keeps the object alive.
  @usableFromInline @inline(never)
  static func clearInPieces(
    _ type: Any.Type, at destination: UnsafeMutableRawPointer, stride: Int, count: Int
  ) {
    let perPiece = max(1, piece / max(stride, 1))
    var done = 0
    while done < count {
      let length = min(perPiece, count - done)
      unsafe clear(type, at: destination + done * stride, count: length)
      done += length
      if done < count { Safepoints.answer() }
    }
  }

  /// Stops the program if a type's values can hold references.
  @usableFromInline @inline(never)
  static func requireNoscan(_ type: Any.Type) {
    require(
      FieldMap.of(type).isNoscan,
      "\(type) can hold a reference, and references in a Swift collection are where the collector "
        + "does not look: append them one by one, or keep them in a HeapArray or a HeapList")
  }

  /// Copies whole words, each of which is read once and written once.
  @inline(__always)
  private static func copyWords(
    _ source: UnsafeRawPointer, to destination: UnsafeMutableRawPointer, size: Int
  ) {
    // SAFETY: a type that holds a reference has the alignment of a word, and so a stride of
    // whole words.
    let from = unsafe source.assumingMemoryBound(to: Atomic<UInt>.self)
    let to = unsafe destination.assumingMemoryBound(to: Atomic<UInt>.self)
    if unsafe UnsafeRawPointer(destination) <= source {
      for word in 0..<size / 8 {
        // Relaxed: ordered by the caller's fence; atomic only so that no reference is seen in halves.
        unsafe to[word].store(from[word].load(ordering: .relaxed), ordering: .relaxed)
      }
    } else {
      var word = size / 8
      while word > 0 {
        word -= 1
        unsafe to[word].store(from[word].load(ordering: .relaxed), ordering: .relaxed)
      }
    }
  }
}
