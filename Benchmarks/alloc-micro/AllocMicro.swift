// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// alloc-micro: what one allocation costs, by size and kind.
//
// For each size N objects are allocated (at most 2 GiB of them). KEEP of every 100 go into a ring
// of at most 32 MiB and live until the ring has gone round; the others die at once. The figure is
// nanoseconds an object, collection included: `noscan_16_ns` … `scan_65536_ns`.
//
// The ring is itself a heap array of references, so a kept object costs one store with a barrier
// into an old object; and an object that leaves the ring is read once more, which gives the
// checksum. The last object that was not kept stays in a local variable, as it would in a program
// that uses what it allocates.
//
// `measure` is generic and the compiler makes one copy for each specimen, in which type, size and
// fields are constants. It must not become one loop over all of them: what is measured is the
// fast path as it is inlined into a caller that knows its type.

internal import Mutator
internal import ProgramSupport

/// No size allocates more bytes than this.
let bytesPerSize = 2 << 30
let ringBytes = 32 << 20

/// A series of measurements with the same settings.
struct Series: Sendable {
  let count: Int
  let onlySize: Int
  let keep: Int
  var checksum = Checksum()
  var figures = Figures()

  /// Measures one specimen, unless another size was asked for.
  @inline(never)
  mutating func measure<Kind: Specimen>(
    _ specimen: Kind, _ kindName: String, _ cell: HeapRef<Cell>, in mutator: HeapMutator
  ) {
    let size = specimen.size
    guard onlySize == 0 || onlySize == size else { return }
    let objects = min(count, bytesPerSize / size)
    let ring = mutator.allocateArray(
      of: Optional<Kind.Reference>.self, count: min(ringBytes / size, 1 << 18), repeating: nil)
    let slots = ring.count
    var checksum = checksum
    var scratch: Kind.Reference?
    var slot = 0
    var due = 0

    let start = Moment.now
    for index in 0..<objects {
      let object = specimen.make(index, cell, in: mutator)
      due += keep
      guard due >= 100 else {
        scratch = object
        continue
      }
      due -= 100
      let old = ring[slot]
      ring[slot] = object
      slot += 1
      if slot == slots { slot = 0 }
      if let old { checksum.fold(specimen.lastWord(of: old)) }
    }
    let wall = start.elapsed

    withExtendedLifetime(scratch) {}
    for case let kept? in ring { checksum.fold(specimen.lastWord(of: kept)) }
    self.checksum = checksum
    figures.add("\(kindName)_\(size)_ns", Double(wall) / Double(objects))
  }

  /// Objects without references, which the collector marks and never looks into.
  mutating func measureNumbers(_ cell: HeapRef<Cell>, in mutator: HeapMutator) {
    measure(Structs<Numbers2>(), "noscan", cell, in: mutator)
    measure(Structs<Numbers4>(), "noscan", cell, in: mutator)
    measure(Structs<Numbers8>(), "noscan", cell, in: mutator)
    measure(Structs<Numbers32>(), "noscan", cell, in: mutator)
    measure(Structs<Numbers128>(), "noscan", cell, in: mutator)
    measure(NumberArrays(words: 1024), "noscan", cell, in: mutator)
    measure(NumberArrays(words: 8192), "noscan", cell, in: mutator)
  }

  /// Objects of nothing but references, most of them nil.
  mutating func measureLinks(_ cell: HeapRef<Cell>, in mutator: HeapMutator) {
    measure(Structs<Links2>(), "scan", cell, in: mutator)
    measure(Structs<Links4>(), "scan", cell, in: mutator)
    measure(Structs<Links8>(), "scan", cell, in: mutator)
    measure(Structs<Links32>(), "scan", cell, in: mutator)
    measure(Structs<Links128>(), "scan", cell, in: mutator)
    measure(LinkArrays(words: 1024), "scan", cell, in: mutator)
    measure(LinkArrays(words: 8192), "scan", cell, in: mutator)
  }
}

@main
enum AllocMicro {
  static func main() {
    let program = Program(
      "alloc-micro", "Measures what one allocation costs, by size and kind.",
      parameters: [
        .integer("N", default: 5_000_000, in: 1...(.max), "objects of each size, 2 GiB at most"),
        .integer(
          "SIZE", default: 0, among: [0, 16, 32, 64, 256, 1024, 8192, 65536],
          "bytes an object, 0 for all sizes"),
        .integer("KEEP", default: 10, in: 0...100, "how many of 100 objects stay for a while"),
        .choice(
          "KIND", default: "both", among: ["both", "noscan", "scan"],
          "objects without references, of references, or both"),
      ])
    program.main { heap, arguments in
      let kind = arguments.text("KIND")
      let start = Moment.now
      let series = heap.withMutator { mutator in
        var series = Series(
          count: arguments.integer("N"), onlySize: arguments.integer("SIZE"),
          keep: arguments.integer("KEEP"))
        let cell = mutator.allocate(Cell(value: 7))
        if kind != "scan" { series.measureNumbers(cell, in: mutator) }
        if kind != "noscan" { series.measureLinks(cell, in: mutator) }
        return series
      }
      return Outcome(series.checksum, wall: start.elapsed, extra: series.figures)
    }
  }
}
