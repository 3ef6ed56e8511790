// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Every reference of a value, with its path and its offset, and no other word: enums of every
// shape, in every case. What a walk finds is compared with the value that the test has built.

import Mutator
import Testing

private struct PlanTarget: HeapObject { var key = 0 }
private typealias Ref = HeapRef<PlanTarget>

/// Several payloads, and cases without.
private enum PlanValue {
  case none
  case number(Int)
  case link(Ref)
  case pair(Ref, Int)
  case named(first: Ref?, flag: Bool, second: Ref)
  case nothing
}

/// One payload.
private enum PlanSingle {
  case one(Ref, Int32)
  case zero, other
}

/// A payload that takes no space is not counted among those that do.
private enum PlanWithEmpty {
  case unit(Void)
  case first(Ref)
  case empty(PlanEmpty)
  case second(Int, Ref)
}

private struct PlanEmpty {}

/// The only case.
private enum PlanOnly {
  case only(Bool, Ref)
}

/// Inner enums whose spare bits may hold the outer one's tag.
private enum PlanOuter {
  case left(PlanInner)
  case right(PlanInner)
  case both(PlanInner, PlanInner)
  case flag(Bool)
}

private enum PlanInner {
  case a(Bool, Ref)
  case b(Ref, Bool)
  case c
}

private enum PlanGeneric<A, B> {
  case a(A)
  case b(B)
  case ab(A, B)
  case neither
}

private struct PlanFields {
  var small: Int8 = 0
  var left: Ref?
  var tuple: (Int, Ref?) = (0, nil)
  var value = PlanValue.none
}

@Suite struct ReferencePlanTests {
  /// A reference that is not followed.
  private static func ref(_ number: UInt) -> Ref {
    unsafe HeapRef(_raw: UnsafeMutableRawPointer(bitPattern: number << 4).unsafelyUnwrapped)
  }

  /// What a walk finds: `path = number`, references that are not nil.
  private func walk<T>(_ value: T) -> [String] {
    var found: [String] = []
    var inEnums: [(Int, UInt)] = []
    unsafe withUnsafePointer(to: value) { address in
      let bytes = unsafe UnsafeRawPointer(address)
      unsafe ReferencePlan.of(T.self).walk(bytes) { reference, path in
        // The offset is where the word is: a heap reference leaves no bits for tags.
        let there = unsafe bytes.loadUnaligned(fromByteOffset: reference.offset, as: UInt.self)
        #expect(there == reference.word)
        if reference.word != 0 { found.append("\(path) = \(reference.word >> 4)") }
        if path.steps.contains(where: { if case .inCase = $0 { true } else { false } }) {
          inEnums.append((reference.offset, reference.word))
        }
      }
      // Without paths, it finds what lies in an enum, in the same order.
      var words: [(Int, UInt)] = []
      unsafe ReferencePlan.of(T.self).forEachEnumReference(in: bytes) { words.append(($0, $1)) }
      #expect(words.elementsEqual(inEnums, by: ==))
    }
    return found
  }

  private func isEmpty(_ type: Any.Type) -> Bool { ReferencePlan.of(type).isEmpty }

  @Test("a reference and its optional are themselves")
  func references() {
    #expect(walk(Self.ref(7)) == [" = 7"])
    #expect(walk(Optional(Self.ref(7))) == [" = 7"])
    #expect(walk(nil as Ref?) == [])
    #expect(walk(Optional(Optional(Self.ref(7)))) == [" = 7"])
    #expect(walk(Optional(nil as Ref?)) == [])
    #expect(walk(nil as Ref??) == [])
  }

  @Test("values without references have an empty plan")
  func plain() {
    #expect(isEmpty(Int.self))
    #expect(isEmpty((Double, Int?, UInt8).self))
    #expect(isEmpty(PlanGeneric<Int, Double>.self))
    #expect(isEmpty(InlineArray<3, Int>.self))
    #expect(isEmpty(InlineArray<0, Ref>.self))
  }

  @Test("each case of an enum shows its own references and none of another's")
  func cases() {
    #expect(walk(PlanValue.none) == [])
    #expect(walk(PlanValue.number(0x70)) == [])
    #expect(walk(PlanValue.nothing) == [])
    #expect(walk(PlanValue.link(Self.ref(1))) == ["case link = 1"])
    #expect(walk(PlanValue.pair(Self.ref(2), 0x30)) == ["case pair.0 = 2"])
    #expect(
      walk(PlanValue.named(first: Self.ref(3), flag: true, second: Self.ref(4)))
        == ["case named.first = 3", "case named.second = 4"])
    #expect(
      walk(PlanValue.named(first: nil, flag: false, second: Self.ref(4))) == [
        "case named.second = 4"
      ])
  }

  @Test("an enum of one payload, of one case, and with empty payloads")
  func payloads() {
    #expect(walk(PlanSingle.one(Self.ref(1), 5)) == ["case one.0 = 1"])
    #expect(walk(PlanSingle.zero) == [] && walk(PlanSingle.other) == [])
    #expect(walk(PlanOnly.only(true, Self.ref(2))) == ["case only.1 = 2"])
    #expect(walk(PlanWithEmpty.unit(())) == [] && walk(PlanWithEmpty.empty(PlanEmpty())) == [])
    #expect(walk(PlanWithEmpty.first(Self.ref(3))) == ["case first = 3"])
    #expect(walk(PlanWithEmpty.second(0x80, Self.ref(4))) == ["case second.1 = 4"])
    #expect(walk(Result<Ref, Never>.success(Self.ref(5))) == ["case success = 5"])
  }

  @Test("an enum in an enum is asked after the outer one has been taken off")
  func nested() {
    for flag in [false, true] {
      let (a, b) = (PlanInner.a(flag, Self.ref(1)), PlanInner.b(Self.ref(2), flag))
      #expect(walk(a) == ["case a.1 = 1"])
      #expect(walk(PlanOuter.left(a)) == ["case left.case a.1 = 1"])
      #expect(walk(PlanOuter.right(a)) == ["case right.case a.1 = 1"])
      #expect(walk(PlanOuter.left(b)) == ["case left.case b.0 = 2"])
      #expect(walk(PlanOuter.right(b)) == ["case right.case b.0 = 2"])
      #expect(
        walk(PlanOuter.both(a, b)) == ["case both.0.case a.1 = 1", "case both.1.case b.0 = 2"])
      #expect(walk(PlanOuter.both(.c, b)) == ["case both.1.case b.0 = 2"])
      #expect(walk(PlanOuter.right(.c)) == [] && walk(PlanOuter.flag(flag)) == [])
      #expect(walk(Optional(PlanOuter.right(a))) == ["case right.case a.1 = 1"])
      #expect(walk(Optional(Optional(a))) == ["case a.1 = 1"])
    }
    #expect(walk(nil as PlanOuter?) == [])
  }

  @Test("a generic enum is taken apart by its arguments")
  func generics() {
    typealias G = PlanGeneric<Ref, PlanValue>
    #expect(walk(G.a(Self.ref(1))) == ["case a = 1"])
    #expect(walk(G.b(.number(0x50))) == [])
    #expect(walk(G.b(.link(Self.ref(2)))) == ["case b.case link = 2"])
    #expect(
      walk(G.ab(Self.ref(3), .pair(Self.ref(4), 0))) == [
        "case ab.0 = 3", "case ab.1.case pair.0 = 4",
      ]
    )
    #expect(walk(G.neither) == [])
    #expect(walk(PlanGeneric<Int8, Ref?>.ab(3, Self.ref(9))) == ["case ab.1 = 9"])
    #expect(walk(PlanGeneric<PlanGeneric<Ref, Int>, Bool>.a(.b(0x60))) == [])
    #expect(
      walk(PlanGeneric<PlanGeneric<Ref, Int>, Bool>.a(.a(Self.ref(6)))) == ["case a.case a = 6"])
  }

  @Test("structs, tuples and inline arrays lead to their parts, enums in them too")
  func aggregates() {
    var fields = PlanFields(left: Self.ref(1), tuple: (0x90, Self.ref(2)))
    fields.value = .pair(Self.ref(3), 0)
    #expect(walk(fields) == ["left = 1", "tuple.1 = 2", "value.case pair.0 = 3"])
    #expect(walk((1, fields, x: Self.ref(4))).last == "x = 4")
    #expect(walk((1, fields, x: Self.ref(4))).first == "1.left = 1")
    #expect(walk(Optional(fields)).last == "value.case pair.0 = 3")

    let references: InlineArray<3, Ref?> = [Self.ref(1), nil, Self.ref(3)]
    #expect(walk(references) == ["[0] = 1", "[2] = 3"])
    let values: InlineArray<3, PlanValue> = [.number(0x10), .link(Self.ref(5)), .none]
    #expect(walk((0, edges: values)) == ["edges[1].case link = 5"])
    let grid: InlineArray<2, InlineArray<2, Ref?>> = [[nil, Self.ref(1)], [Self.ref(2), nil]]
    #expect(walk(grid) == ["[0][1] = 1", "[1][0] = 2"])
  }

  @Test("the part of a path inside the outermost enum is told apart")
  func insideEnum() {
    var fields = PlanFields()
    fields.value = .pair(Self.ref(3), 0)
    func inside<T>(_ value: T) -> [String] {
      var found: [String] = []
      unsafe withUnsafePointer(to: value) { address in
        unsafe ReferencePlan.of(T.self).walk(UnsafeRawPointer(address)) { reference, path in
          if reference.word != 0 { found.append(path.insideEnum) }
        }
      }
      return found
    }
    #expect(inside(fields) == [".case pair.0"])
    #expect(inside(fields.value) == [".case pair.0"])
    #expect(inside(Optional(PlanFields(left: Self.ref(1)))) == [".left"])
    #expect(inside((1, Self.ref(1))) == [""])
  }
}
