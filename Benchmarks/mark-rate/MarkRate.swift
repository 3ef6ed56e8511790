// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// mark-rate: how fast a full collection goes over a live graph of small objects.
//
// Builds a graph of MIB mebibytes (see Graph.swift), collects once so that the heap settles, and
// then times COLLECTIONS forced collections. Nothing dies: what is measured is marking and the pass
// of the sweeper over spans without garbage.
//
//     collect_ms, collect_min_ms   the median and the fastest collection
//     mib_per_s, mobjects_per_s    the graph over the median
//     cpu_ms_per_collect           CPU time of all threads: marking in parallel shows here
//     build_s                      allocating and linking the graph, collections included
//
// `wall_s` is the forced collections only. At the end the graph is walked, untimed, and every node's
// number is folded into the checksum: all of it has survived.

internal import Mutator
internal import ProgramSupport

/// What a run found out.
struct Rates: Sendable {
  var checksum = Checksum()
  var buildTime = 0
  var wall = 0
  var cpuSeconds = 0.0
  var collections: [Int] = []
}

func run<Node: GraphNode>(
  _ type: Node.Type, count: Int, rounds: Int, in mutator: HeapMutator
) -> Rates {
  var rates = Rates()
  let buildStart = Moment.now
  let root = buildGraph(of: type, count: count, in: mutator)
  rates.buildTime = buildStart.elapsed

  mutator.collect()  // untimed: lets the heap settle
  let cpuStart = ProcessUsage.cpuSeconds
  let start = Moment.now
  for _ in 0..<rounds {
    let roundStart = Moment.now
    mutator.collect()
    rates.collections.append(roundStart.elapsed)
  }
  rates.wall = start.elapsed
  rates.cpuSeconds = ProcessUsage.cpuSeconds - cpuStart

  rates.collections.sort()
  walk(root, &rates.checksum)
  return rates
}

@main
enum MarkRate {
  static func main() {
    let program = Program(
      "mark-rate", "Times forced collections of a live graph of small objects.",
      parameters: [
        .integer("MIB", default: 128, in: 1...32767, "size of the graph in MiB"),
        .integer("COLLECTIONS", default: 5, in: 1...1_000_000, "collections that are timed"),
        .integer("NODE", default: 32, among: [32, 64], "bytes a node"),
      ])
    program.main { heap, arguments in
      let mib = arguments.integer("MIB")
      let rounds = arguments.integer("COLLECTIONS")
      let nodeSize = arguments.integer("NODE")
      let count = (mib << 20) / nodeSize
      let rates = heap.withMutator { mutator in
        nodeSize == 32
          ? run(Node32.self, count: count, rounds: rounds, in: mutator)
          : run(Node64.self, count: count, rounds: rounds, in: mutator)
      }
      let median = Double(rates.collections[rounds / 2]) / 1e9
      return Outcome(
        rates.checksum, wall: rates.wall,
        extra: [
          "collect_ms": median * 1e3,
          "collect_min_ms": Double(rates.collections[0]) / 1e6,
          "mib_per_s": Double(mib) / median,
          "mobjects_per_s": Double(count) / median / 1e6,
          "cpu_ms_per_collect": rates.cpuSeconds * 1e3 / Double(rounds),
          "build_s": Double(rates.buildTime) / 1e9,
        ])
    }
  }
}
