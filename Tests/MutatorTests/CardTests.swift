// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Every way to store a reference into an object sets the card of the slot, all cards of a value
// that lies on several, and a store of numbers sets none.
//
// Each test has a process of its own: while another heap's barrier is up, all stores take the slow
// half, which sets cards too, and the inlined half would go untested.

import Heap
import Mutator
import TestSupport
import Testing

/// Wider than a card.
private struct Broad: HeapObject {
  var numbers = InlineArray<300, Int>(repeating: 0)
  var links = InlineArray<300, HeapRef<Box>?>(repeating: nil)
}

@Suite struct CardTests {
  /// Which of some addresses are on cards that `store` has made dirty.
  private static func dirty(_ addresses: [UInt], _ store: () -> Void) -> [Bool] {
    for arena in Set(addresses.map { ArenaIndex(holding: $0) }) {
      CardTable.takeDirty(of: arena) { _ in }
    }
    store()
    return addresses.map { CardTable.isDirty($0) }
  }

  private static func address<Object>(_ reference: HeapRef<Object>) -> UInt {
    UInt(bitPattern: unsafe reference._raw)
  }

  private static func address<Element>(_ array: HeapArray<Element>) -> UInt {
    UInt(bitPattern: unsafe array._raw)
  }

  @Test("a field that is stored")
  func fields() async {
    await #expect(processExitsWith: .success) {
      let (box, other) = (TestMemory.object(Box(1)), TestMemory.object(Box(2)))
      let place = [Self.address(box)]
      #expect(Self.dirty(place) { box.left = other } == [true])
      #expect(Self.dirty(place) { box.left = nil } == [true])
      #expect(Self.dirty(place) { box.inner.link = other } == [true])
      #expect(Self.dirty(place) { box.inner = Inner() } == [true])
      #expect(Self.dirty(place) { box.shape = .link(other) } == [true])
      #expect(Self.dirty(place) { box.pointee = Box(3) } == [true])
      #expect(Self.dirty(place) { box.key = 7 } == [false])
      #expect(Self.dirty(place) { _ = box.left } == [false])
    }
  }

  @Test("one element of an inline array, on its own card")
  func elements() async {
    await #expect(processExitsWith: .success) {
      let (broad, other) = (TestMemory.object(Broad()), TestMemory.object(Box(2)))
      // The elements lie from 2400 on, on two cards at least.
      let places = [0, 299].map { Self.address(broad) + 2400 + 8 * UInt($0) }
      #expect(Self.dirty(places) { broad[\.links, 0] = other } == [true, false])
      #expect(Self.dirty(places) { broad[\.links, 299] = other } == [false, true])
      #expect(Self.dirty(places) { broad[\.links, 299] = nil } == [false, true])
      #expect(Self.dirty(places) { broad[\.numbers, 299] = 7 } == [false, false])
      #expect(Self.dirty(places) { _ = broad[\.links, 0] } == [false, false])
    }
  }

  @Test("a reference field that is written as an atomic word")
  func atomics() async {
    await #expect(processExitsWith: .success) {
      let (box, other) = (TestMemory.object(Box(1)), TestMemory.object(Box(2)))
      let place = [Self.address(box)]
      #expect(Self.dirty(place) { box.store(\.left, other, ordering: .releasing) } == [true])
      #expect(
        Self.dirty(place) { _ = box.exchange(\.left, nil, ordering: .relaxed) } == [true])
      #expect(
        Self.dirty(place) {
          _ = box.compareExchange(\.left, expected: nil, desired: other, ordering: .relaxed)
        } == [true])
      #expect(Self.dirty(place) { _ = box.load(\.left, ordering: .acquiring) } == [false])
    }
  }

  @Test("a field with references beside what ARC manages")
  func owned() async {
    await #expect(processExitsWith: .success) {
      let (mixed, other) = (TestMemory.object(Mixed()), TestMemory.object(Mixed()))
      let offsets = [
        MemoryLayout<Mixed>.offset(of: \.left), MemoryLayout<Mixed>.offset(of: \.pair),
      ]
      let places = offsets.map { Self.address(mixed) + UInt($0 ?? 0) }
      #expect(Self.dirty([places[1]]) { mixed.pair = ("a", other) } == [true])
      #expect(Self.dirty([places[1]]) { mixed.choice = .link(other) } == [true])
      #expect(Self.dirty(places) { mixed.pointee = Mixed(left: other) } == [true, true])
      #expect(Self.dirty(places) { mixed.name = "b" } == [false, false])
    }
  }

  @Test("elements of an array, one and many")
  func arrays() async {
    await #expect(processExitsWith: .success) {
      let box = TestMemory.object(Box(1))
      let array = TestMemory.array(Array(repeating: nil as HeapRef<Box>?, count: 1200))
      let first = Self.address(array) + 8
      let places = [0, 600, 1199].map { first + UInt($0) * 8 }
      #expect(Self.dirty(places) { array[600] = box } == [false, true, false])
      #expect(Self.dirty(places) { array.update(repeating: box) } == [true, true, true])
      #expect(
        Self.dirty(places) { array.update(from: [box, nil], at: 1198) } == [false, false, true])
      #expect(Self.dirty(places) { array.copy(range: 0..<2, to: 599) } == [false, true, false])
      #expect(Self.dirty(places) { array.copy(range: 0..<599, to: 601) } == [false, true, true])
      let numbers = TestMemory.array(Array(repeating: 0, count: 300))
      let number = Self.address(numbers) + 8
      #expect(Self.dirty([number]) { numbers[0] = 1 } == [false])
    }
  }

  @Test("every card of a value that lies on several")
  func broad() async {
    await #expect(processExitsWith: .success) {
      let broad = TestMemory.object(Broad())
      let first = Self.address(broad)
      let places = [0, 2048, 4096, 4792].map { first + $0 }
      #expect(Self.dirty(places) { broad.pointee = Broad() } == [true, true, true, true])
      let links = [2400, 4104, 4792].map { first + $0 }
      #expect(
        Self.dirty(links) { broad.links = InlineArray(repeating: nil) } == [true, true, true])
    }
  }
}
