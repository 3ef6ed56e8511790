// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Checked mode, when a sweep frees slots: they are held out of use for a while.
//
// A stale reference shows only as long as its slot is free. Once the slot has a new object of the
// same type, a stale reference to it looks like any other. So in checked mode a freed slot is
// filled with a pattern and held: it is not allocated, and no thread takes it. The span remembers
// which slots are held (HeapSpan+Slots). A span that has nothing but held slots is not given
// back to the page heap: a new span there could have objects of the same type again.
//
// What is held takes memory, so there is a limit: as much as is live, or 64 MiB if that is more, and
// never more than half of what the memory limit leaves over live objects. The other half is for new
// objects. Each sweep of the heap goes by what is held before it:
//
//     held before        slots that were held before    slots that this sweep frees
//     half of the limit  go on being held               held, until the limit is reached
//     or less
//     more               free                           held, until the limit is reached
//
// The sweep after a minor cycle leaves most spans alone, and what they hold goes on being held. It
// could free few of the slots that were held before, so it frees none. If more than three quarters of
// the limit are held after a sweep, the next cycle is a full one, whatever the pacer or stress would
// have it be: then every span is swept, and the older slots become free. At half of the limit there
// would be no minor cycles in a large heap, whose nursery is about as large. At the whole limit,
// more slots would not be held at all.
//
// So a slot is held until the heap has freed about half of the limit's bytes, and nearly always for
// a whole cycle. When memory is refused (the hard limit, the system), and when a program asks for
// free memory to be given back, the quarantine is suspended for a collection, which empties it.
//
// Invariant   when every span is swept, `heldBytes` is the sum of what the spans hold.
// Owner       `begin`: the collector's thread, before anybody sweeps. `hold`: whoever sweeps.
// Ordering    `Sweeper.open` hands over to mutators what `begin` stores. The rest is relaxed: the
//             bytes are a sum, and `suspend` is followed by a collection that the caller requests
//             and waits for.

internal import Heap
internal import Synchronization

/// Decides which freed slots are held out of use.
package final class Quarantine: Sendable {
  /// Bytes that are held. While a full cycle is swept: those of the spans that are swept already.
  let heldBytes = Atomic(0)
  /// The most that is held at a time, in bytes.
  private let limit = Atomic(Quarantine.smallestLimit)
  /// What was held before is held on.
  private let keepsOlder = Atomic(true)
  /// What a span held before is not in `heldBytes`.
  private let countsAnew = Atomic(true)
  /// How many callers want nothing to be held.
  private let suspensions = Atomic(0)
  /// The soft limit in force, in bytes; nil: none.
  private let memoryLimit: @Sendable () -> Int?

  /// Bytes that may be held in a small heap without a memory limit; in a larger one it is as much as
  /// is live. More finds stale references that are used later, and takes more memory in checked
  /// mode.
  package static let smallestLimit = 64 << 20

  /// Larger objects than this are not held, in bytes: a few of them would fill the quarantine.
  package static let largestSlot = 1 << 20

  /// - Parameter memoryLimit: says what the soft limit is, in bytes; nil: none.
  init(memoryLimit: @escaping @Sendable () -> Int?) { self.memoryLimit = memoryLimit }

  /// The heap is about to be swept.
  ///
  /// - Parameters:
  ///   - kind: of the cycle. After a minor one only some spans are swept.
  ///   - live: bytes that the cycle has found live.
  func begin(_ kind: CycleKind, live: Int) {
    var limit = suspensions.load(ordering: .relaxed) > 0 ? 0 : max(live, Self.smallestLimit)
    if let memoryLimit = memoryLimit() { limit = min(limit, max(memoryLimit - live, 0) / 2) }
    // A full cycle's sweep comes to every span and counts anew.
    let isFull = kind == .full
    let before = isFull ? heldBytes.exchange(0, ordering: .relaxed) : 0
    countsAnew.store(isFull, ordering: .relaxed)
    keepsOlder.store(before <= limit / 2 && limit > 0, ordering: .relaxed)
    self.limit.store(limit, ordering: .relaxed)
  }

  /// So much is held that the next cycle has to be a full one. When every span is swept.
  var wantsFullCycle: Bool {
    heldBytes.load(ordering: .relaxed) > limit.load(ordering: .relaxed) / 4 * 3
  }

  /// Which slots of a word of a span's bits are held from now on, one bit each.
  ///
  /// - Parameters:
  ///   - dead: the slots that this sweep frees.
  ///   - held: the slots that were held until now.
  func hold(_ dead: UInt, _ held: UInt, of span: HeapSpan) -> UInt {
    guard span.slotSize <= Self.largestSlot else { return 0 }
    let older = keepsOlder.load(ordering: .relaxed) ? held : 0
    let isFull =
      heldBytes.load(ordering: .relaxed) >= limit.load(ordering: .relaxed)
    let kept = older | (isFull ? 0 : dead)
    let counted = countsAnew.load(ordering: .relaxed) ? 0 : held.nonzeroBitCount
    heldBytes.add((kept.nonzeroBitCount - counted) * Int(span.slotSize), ordering: .relaxed)
    return kept
  }

  /// Runs `body`, which collects. A cycle that begins to sweep meanwhile holds nothing.
  func suspend(_ body: () -> Void) {
    suspensions.add(1, ordering: .relaxed)
    body()
    suspensions.subtract(1, ordering: .relaxed)
  }
}
