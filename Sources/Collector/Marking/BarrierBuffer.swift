// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A mutator's barrier buffer: references that its stores overwrote or wrote while the flag
// was up, to be marked a batch at a time.
//
// It is flushed when it is full and in handshakes, and thrown away once marking has ended: all that
// was recorded is marked then, or is garbage that an ambiguous word looked like.
//
// Owner: the mutator, or the collector on its behalf.

internal import Heap

/// References to mark.
@safe package struct BarrierBuffer: ~Copyable {
  /// Entries of a buffer, two a store. More makes a handshake longer (all are marked in it),
  /// less flushes more often.
  static var size: Int { 512 }

  private let entries: UnsafeMutablePointer<UInt>
  private let capacity: Int
  package private(set) var count = 0

  package init(capacity: Int) {
    self.capacity = max(capacity, 2)
    unsafe entries = .allocate(capacity: self.capacity)
  }

  deinit { unsafe entries.deallocate() }

  /// Adds both halves of a store; true when no further store fits.
  @inline(__always)
  package mutating func append(old: UInt, new: UInt) -> Bool {
    // Without branches: what is stored is as good as random.
    unsafe entries[count] = old
    let behindOld = count &+ (old == 0 ? 0 : 1)
    unsafe entries[behindOld] = new
    count = behindOld &+ (new == 0 || new == old ? 0 : 1)
    return count &+ 2 > capacity
  }

  /// Marks what is in the buffer, and empties it.
  package mutating func flush(to marker: inout Marker) {
    for i in 0..<count {
      let word = unsafe entries[i]
      // What was stored may be an immediate. A store has no time to look.
      if ReferenceWord.isReference(word) { marker.mark(word) }
    }
    count = 0
  }

  /// Empties the buffer, and marks nothing.
  mutating func discard() { count = 0 }
}
