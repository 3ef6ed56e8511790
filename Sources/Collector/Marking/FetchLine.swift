// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A line of addresses whose memory the processor is fetching: first in, first out.
//
// What goes in has been prefetched, and by the time that it comes out again the memory is in the
// cache. A line is a ring of places of which 0 marks the empty ones. While it is full, one
// address goes in and the oldest comes out, with one load and one store.
//
// Owner       the marker that has it.

/// Sixteen addresses at most, none of them 0.
@safe package struct FetchLine: ~Copyable {
  /// Addresses on their way. More hide more latency, until the fetched lines push each other out,
  /// or the processor has no place to note more misses.
  private static var length: Int { 16 }

  private let places: UnsafeMutablePointer<UInt>
  /// Where the next address goes, and the oldest one is if the line is full.
  private var next = 0
  package private(set) var count = 0

  package init() {
    unsafe places = .allocate(capacity: Self.length)
    unsafe places.initialize(repeating: 0, count: Self.length)
  }

  deinit { unsafe places.deallocate() }

  /// Puts an address in; returns the one that leaves for it, or 0.
  @inline(__always)
  package mutating func exchange(_ address: UInt) -> UInt {
    let place = unsafe places + next
    let oldest = unsafe place.pointee
    unsafe place.pointee = address
    next = (next &+ 1) & (Self.length - 1)
    if oldest == 0 { count &+= 1 }
    return oldest
  }

  /// Takes the oldest address out.
  package mutating func removeOldest() -> UInt? {
    guard count > 0 else { return nil }
    let place = unsafe places + ((next &- count) & (Self.length - 1))
    let oldest = unsafe place.pointee
    unsafe place.pointee = 0
    count &-= 1
    return oldest
  }
}
