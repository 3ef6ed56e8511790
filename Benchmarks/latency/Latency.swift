// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// latency: a window of live messages, and the time that every push takes.
//
// N messages of SIZE bytes are made; the last WINDOW of them are kept in a hash table or a ring. A
// push makes a message, takes the oldest out (and reads it), and puts the new one in. The clock is
// read once a push, so that a pause anywhere in the loop lands in some push: whatever the collector
// takes from this thread, be it a handshake, an assist, a sweep or a page fault, is seen here, under
// whatever name it would go.
//
//     p50_us … p9999_us   percentiles over all pushes
//     max_us              the longest push
//     steady_max_us       the longest once the window was full: the heap no longer grows
//
// The times are kept in a Swift array: numbers need not be in the heap, and 16 MB of them would
// only move its goal.

internal import Mutator
internal import ProgramSupport

/// What is pushed, how often, and how many are kept.
struct Pushes: Sendable {
  let count: Int
  let window: Int
  let size: Int

  func run<Kind: MessageKind, Store: MessageStore<Kind.Message>>(
    _ kind: Kind.Type, into store: Store, in mutator: HeapMutator
  ) -> Outcome {
    var took = [Int](repeating: 0, count: count)
    var checksum = Checksum()
    let start = Moment.now
    var last = start
    for id in 0..<count {
      let message = kind.make(id, size: size, in: mutator)
      if id >= window {
        let oldest = store.remove(id - window)
        checksum.fold(kind.probe(oldest, id - window, size: size))
      }
      store.put(message, id)
      let now = Moment.now
      took[id] = now - last
      last = now
    }

    for id in max(0, count - window)..<count {
      checksum.fold(kind.probe(store.remove(id), id, size: size))
    }
    return Outcome(checksum, wall: last - start, extra: percentiles(of: took))
  }

  private func percentiles(of times: [Int]) -> Figures {
    let steady = times.dropFirst(window).max() ?? 0
    let sorted = times.sorted()
    func at(_ share: Double) -> Double {
      Double(sorted[Int(Double(count - 1) * share)]) / 1e3
    }
    return [
      "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "p9999_us": at(0.9999),
      "max_us": at(1), "steady_max_us": Double(steady) / 1e3,
    ]
  }
}

@main
enum Latency {
  static func main() {
    let program = Program(
      "latency", "Pushes messages through a window of live ones and times every push.",
      parameters: [
        .integer("N", default: 2_000_000, in: 1...(1 << 40), "messages"),
        .integer("WINDOW", default: 200_000, in: 1...(1 << 40), "messages that are kept"),
        .integer("SIZE", default: 1024, in: 1...(1 << 40), "bytes a message, 64 or more if linked"),
        .choice(
          "KIND", default: "noscan", among: ["noscan", "linked"], "plain bytes, or SIZE/32 nodes"),
        .choice("STORE", default: "map", among: ["map", "ring"], "a hash table, or an array"),
      ])
    program.main { heap, arguments in
      let pushes = Pushes(
        count: arguments.integer("N"), window: arguments.integer("WINDOW"),
        size: arguments.integer("SIZE"))
      let linked = arguments.text("KIND") == "linked"
      if linked && pushes.size < 64 {
        throw ProgramFailure(.usage, "SIZE: \(pushes.size) is too small for linked messages")
      }
      let map = arguments.text("STORE") == "map"
      let window = pushes.window
      return heap.withMutator { mutator in
        switch (linked, map) {
        case (true, true):
          let table = Table<HeapRef<Link>>(capacity: window, in: mutator)
          return pushes.run(Linked.self, into: table, in: mutator)
        case (true, false):
          let ring = Ring<HeapRef<Link>>(capacity: window, in: mutator)
          return pushes.run(Linked.self, into: ring, in: mutator)
        case (false, true):
          let table = Table<HeapArray<UInt8>>(capacity: window, in: mutator)
          return pushes.run(Bytes.self, into: table, in: mutator)
        case (false, false):
          let ring = Ring<HeapArray<UInt8>>(capacity: window, in: mutator)
          return pushes.run(Bytes.self, into: ring, in: mutator)
        }
      }
    }
  }
}
