// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// lru-cache: a bounded cache of linked entries with payloads of mixed sizes.
//
// OPS look-ups of keys below KEYS, of which CAPACITY are kept. The keys are the fourth power of a
// uniform number: few of them get most of the look-ups, as it is with real caches. A miss makes an
// entry (and evicts one when the cache is full); a hit moves its entry to the front, and one hit
// in eight renews the payload.
//
// For a collector this is the awkward middle between the two easy cases: most objects live long
// enough to be marked, and then die in no order at all, all over the heap. Nearly every operation
// stores six references into old objects. So what is measured is the barrier and the reuse of
// scattered free slots rather than allocation into empty memory.
//
// `ns_per_op` and `hit_rate` are the figures; the checksum folds payloads read on hits, and at
// last the keys from the newest to the oldest.

internal import Mutator
internal import ProgramSupport

/// A run of operations, and what it counted.
struct Workload: Sendable {
  let operations: Int
  let capacity: Int
  let keys: Int
  var checksum = Checksum()
  var hits = 0
  var wall = 0

  mutating func run(in mutator: HeapMutator) {
    let cache = Cache.make(capacity: capacity, in: mutator)
    var stream = KeyStream()
    var count = 0
    let start = Moment.now

    for _ in 0..<operations {
      let key = nextKey(&stream)
      let random = stream.next()

      if let entry = cache.find(key) {
        hits += 1
        let payload = entry.payload
        checksum.fold(Int(payload[0]) + payload.count)
        if random % 8 == 0 {
          entry.payload = Entry.makePayload(key: key, random: random >> 3, in: mutator)
        }
        cache.unlink(entry)
        cache.pushFront(entry)
      } else {
        if count == capacity { cache.evict() } else { count += 1 }
        let payload = Entry.makePayload(key: key, random: random >> 3, in: mutator)
        let entry = mutator.allocate(Entry(key: key, payload: payload))
        cache.insert(entry)
        cache.pushFront(entry)
      }
    }
    wall = start.elapsed

    var next = cache.newest
    while let entry = next {
      checksum.fold(entry.key)
      next = entry.older
    }
    checksum.fold(hits)
  }

  /// The fourth power of a uniform number: few keys get most of it.
  private func nextKey(_ stream: inout KeyStream) -> Int {
    let uniform = stream.next()
    let square = (uniform &* uniform) >> 30
    return (((square &* square) >> 30) &* keys) >> 30
  }
}

@main
enum LRUCacheProgram {
  static func main() {
    let program = Program(
      "lru-cache", "Looks up keys in a bounded cache of linked entries.",
      parameters: [
        .integer("OPS", default: 5_000_000, in: 1...(.max), "look-ups"),
        .integer("CAPACITY", default: 200_000, in: 1...(1 << 30), "entries that are kept"),
        .integer("KEYS", default: 1_000_000, in: 1...(1 << 30), "different keys"),
      ])
    program.main { heap, arguments in
      let workload = heap.withMutator { mutator in
        var workload = Workload(
          operations: arguments.integer("OPS"), capacity: arguments.integer("CAPACITY"),
          keys: arguments.integer("KEYS"))
        workload.run(in: mutator)
        return workload
      }
      let operations = Double(workload.operations)
      return Outcome(
        workload.checksum, wall: workload.wall,
        extra: [
          "hit_rate": Double(workload.hits) / operations,
          "ns_per_op": Double(workload.wall) / operations,
        ])
    }
  }
}
