// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A thousand types: one generic struct over three digits, each of which is a type.
//
// Objects of different types never share a span, and each thread has a run for each type. So many
// types cost room in the thread's cache, spans that are not full, and metadata to be looked at. The
// types are used by turns, which is the worst order for all of these.
//
// A closure for each type allocates one object. The compiler makes a function for each, so that the
// allocation is as fast as any, and the same closures run when there is one type only.

internal import Mutator
internal import ProgramSupport

protocol Digit {}
enum D0: Digit {}
enum D1: Digit {}
enum D2: Digit {}
enum D3: Digit {}
enum D4: Digit {}
enum D5: Digit {}
enum D6: Digit {}
enum D7: Digit {}
enum D8: Digit {}
enum D9: Digit {}

struct Typed<A: Digit, B: Digit, C: Digit>: HeapObject {
  var next: HeapRef<Typed>?
  var number = 0
}

/// Allocates one object of a type.
typealias Maker = (_ number: Int, _ mutator: HeapMutator) -> Int

/// The makers of so many types.
struct Makers {
  private(set) var all: [Maker] = []
  private let mutator: HeapMutator
  /// Objects of a type that live at a time.
  private let alive: Int

  init(alive: Int, in mutator: HeapMutator) {
    (self.alive, self.mutator) = (alive, mutator)
    first(D0.self); first(D1.self); first(D2.self); first(D3.self); first(D4.self)
    first(D5.self); first(D6.self); first(D7.self); first(D8.self); first(D9.self)
  }

  private mutating func first<A: Digit>(_: A.Type) {
    second(A.self, D0.self); second(A.self, D1.self); second(A.self, D2.self)
    second(A.self, D3.self); second(A.self, D4.self); second(A.self, D5.self)
    second(A.self, D6.self); second(A.self, D7.self); second(A.self, D8.self)
    second(A.self, D9.self)
  }

  private mutating func second<A: Digit, B: Digit>(_: A.Type, _: B.Type) {
    add(A.self, B.self, D0.self); add(A.self, B.self, D1.self); add(A.self, B.self, D2.self)
    add(A.self, B.self, D3.self); add(A.self, B.self, D4.self); add(A.self, B.self, D5.self)
    add(A.self, B.self, D6.self); add(A.self, B.self, D7.self); add(A.self, B.self, D8.self)
    add(A.self, B.self, D9.self)
  }

  private mutating func add<A: Digit, B: Digit, C: Digit>(_: A.Type, _: B.Type, _: C.Type) {
    let kept = HeapRoot<HeapRef<Typed<A, B, C>>?>(nil, in: mutator)
    let alive = alive
    var count = 0
    all.append { number, mutator in
      let object = mutator.allocate(Typed<A, B, C>(number: number))
      if number & 15 == 0 {
        // A list that is dropped when it is long enough.
        if count < alive { object.next = kept.get(in: mutator) } else { count = 0 }
        kept.set(object, in: mutator)
        count += 1
      }
      return object.number
    }
  }
}

// MARK: - Subject

/// Objects that live at a time, all types together.
private let aliveObjects = 1 << 16

/// Objects of so many types, by turns.
///
/// - Precondition: there are no more than a thousand types.
func usingTypes(_ types: Int, objects: Int, in mutator: HeapMutator) -> Findings {
  let makers = Makers(alive: aliveObjects / types, in: mutator).all
  var findings = Findings()
  func round(_ objects: Int) {
    for turn in 0..<(objects / types) {
      for type in 0..<types { findings.checksum.fold(makers[type](turn, mutator)) }
    }
  }
  // Every type is known, and the heap has its size.
  round(objects / 10)
  mutator.collect()
  let start = Moment.now
  round(objects)
  mutator.collect()
  findings.wall = start.elapsed
  findings.figures.add("ns_per_object", Double(findings.wall) / Double(objects))
  return findings
}
