// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Buffers: a header and elements in one object, both with or without references.

import Collector
import Heap
import Mutator
import TestSupport
import Testing

private struct Frame: HeapObject {
  var caller: HeapBuffer<Frame, HeapValue>?
  var pc = 0
  var function: HeapRef<TestNode>?
  var state = FrameState.running
  let depth: Int

  init(_ depth: Int, caller: HeapBuffer<Frame, HeapValue>? = nil) {
    self.depth = depth
    self.caller = caller
  }

  var next: Int { pc + 1 }
  var doubled: Int {
    get { pc * 2 }
    set { pc = newValue / 2 }
  }
}

private enum FrameState {
  case running
  case number(Int)
  case returns(HeapRef<TestNode>, Int)
}

/// No references, and no multiple of a word.
private struct Plain: HeapObject {
  var a: Int32 = 1
  var b: UInt8 = 2
}

private struct Empty: HeapObject {}

private struct Wide: HeapObject {
  var vector = SIMD4<Double>(repeating: 0.5)
  var link: HeapRef<TestNode>?
}

private struct Owning: HeapObject { var name = "name" }

private struct Big: HeapObject {
  var links = InlineArray<6000, HeapRef<TestNode>?>(repeating: nil)
}

private struct Pair {
  var number = 0
  var link: HeapRef<TestNode>?
}

private struct Holder: HeapObject {
  var frame: HeapBuffer<Frame, HeapValue>?
  var text: HeapBuffer<Plain, UInt8>?
}

@Suite struct HeapBufferTests {
  private typealias FrameRef = HeapBuffer<Frame, HeapValue>

  @Test("it is one word, and so is its optional")
  func size() {
    #expect(MemoryLayout<FrameRef>.size == 8 && MemoryLayout<FrameRef?>.size == 8)
  }

  @Test("count, header and elements lie one behind the other, each at its alignment")
  func format() {
    #expect(HeapBufferFormat<Frame, HeapValue>.headerOffset == 8)
    #expect(
      HeapBufferFormat<Frame, HeapValue>.elementsOffset == 8 + MemoryLayout<Frame>.size)
    #expect(HeapBufferFormat<Plain, UInt8>.elementsOffset == 13)
    #expect(HeapBufferFormat<Plain, Int32>.elementsOffset == 16)
    #expect(HeapBufferFormat<Empty, Int>.elementsOffset == 8)
    #expect(HeapBufferFormat<Wide, UInt8>.headerOffset == 16)
    #expect(HeapBufferFormat<Wide, UInt8>.alignment == 16)
    #expect(HeapBufferFormat<Empty, SIMD4<Double>>.elementsOffset == 16)
  }

  @Test("fields of the header and elements are read and written, each alone")
  func access() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let node = mutator.allocate(TestNode(key: 4))
      let outer = mutator.allocateBuffer(Frame(1), count: 2, repeating: HeapValue.nil)
      let frame = mutator.allocateBuffer(
        Frame(2, caller: outer), count: 5, repeating: HeapValue(immediate: 7))
      #expect(frame.count == 5 && frame.depth == 2 && frame.pc == 0 && frame.caller == outer)
      #expect((0..<5).allSatisfy { frame[$0].immediate == 7 })
      frame.pc += 3
      frame.function = node
      frame.state = .returns(node, 9)
      frame[0] = HeapValue(node)
      frame[4] = HeapValue(immediate: -1)
      #expect(frame.pc == 3 && frame.next == 4 && frame.function == node && frame.depth == 2)
      frame.doubled = 20
      #expect(frame.pc == 10 && frame.header.pc == 10)
      if case .returns(let found, 9) = frame.state { #expect(found == node) }
      #expect(frame[0].as(TestNode.self) == node && frame[4].immediate == -1)
      #expect((1..<4).allSatisfy { frame[$0].immediate == 7 })
      var header = frame.header
      header.caller = nil
      frame.header = header
      #expect(frame.caller == nil && frame.function == node && frame[0] == HeapValue(node))
      // Two references to one buffer.
      let same = frame
      same[1] = .nil
      #expect(frame[1].isNil && same == frame && same != outer)
      #expect(outer.count == 2 && outer.caller == nil)
      #expect(frame.elements.count == 5 && frame.elements.first == HeapValue(node))
      frame.elements[2] = HeapValue(immediate: 1)
      #expect(frame.elements.map { $0.immediate } == [nil, nil, 1, 7, -1])
      let address = String(UInt(bitPattern: unsafe frame._raw), radix: 16)
      #expect(frame.description == "HeapBuffer<Frame, HeapValue>(5 elements, 0x\(address))")
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test(
    "buffers of every size and alignment keep header and elements",
    arguments: [0, 1, 3, 100, 2000, 4095, 4096, 40_000])
  func sizes(count: Int) throws {
    let heap = try HeapCheck.heap {
      $0.minimumHeap = 256 << 10
      if count > 100 { $0.stress.collectEvery = 0 }
    }
    heap.withMutator { mutator in
      let frame = mutator.allocateBuffer(Frame(3), count: count, repeating: HeapValue.nil)
      let bytes = mutator.allocateBuffer(Plain(a: 7), count: count, repeating: 5 as UInt8)
      let wide = mutator.allocateBuffer(Wide(), count: count, repeating: 6 as UInt8)
      let pairs = mutator.allocateBuffer(Empty(), count: count, repeating: Pair(number: 1))
      let vectors = mutator.allocateBuffer(
        Plain(), count: count, repeating: SIMD2<Double>(1, 2))
      let big = count > 100 ? nil : mutator.allocateBuffer(Big(), count: count, repeating: 1)
      frame.function = mutator.allocate(TestNode(key: 1))
      wide.link = mutator.allocate(TestNode(key: 2))
      big?.links = InlineArray(repeating: mutator.allocate(TestNode(key: 3)))
      for index in 0..<count {
        frame[index] =
          index % 3 == 0
          ? HeapValue(mutator.allocate(TestNode(key: index))) : HeapValue(immediate: index)
        pairs[index] = Pair(number: index, link: mutator.allocate(TestNode(key: index)))
      }
      mutator.collect()
      _ = mutator.list(1000)
      #expect(frame.count == count && frame.function?.key == 1 && frame.depth == 3)
      #expect(
        (0..<count).allSatisfy {
          $0 % 3 == 0 ? frame[$0].as(TestNode.self)?.key == $0 : frame[$0].immediate == $0
        })
      #expect(bytes.a == 7 && bytes.b == 2 && bytes.elements.allSatisfy { $0 == 5 })
      #expect(wide.link?.key == 2 && wide.vector[3] == 0.5)
      #expect(wide.elements.allSatisfy { $0 == 6 })
      #expect(UInt(bitPattern: unsafe wide._raw) % 16 == 0)
      #expect(pairs.elements.enumerated().allSatisfy { $1.number == $0 && $1.link?.key == $0 })
      #expect(vectors.elements.allSatisfy { $0 == SIMD2(1, 2) })
      if let big { #expect(big.links[5999]?.key == 3 && big.elements.allSatisfy { $0 == 1 }) }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test("a buffer is one object, as large as its parts")
  func oneObject() throws {
    let heap = try HeapCheck.pacedHeap { $0.gcPercent = .off }
    heap.withMutator { mutator in
      for _ in 0..<100 { _ = mutator.allocateBuffer(Plain(), count: 3, repeating: 1 as UInt8) }
    }
    #expect(heap.statistics.allocatedObjects == 100)
    #expect(heap.statistics.allocatedBytes == 1600)
  }

  @Test("an index out of range, a negative count, a type that cannot be kept: each is named")
  func mistakes() async throws {
    let index = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateBuffer(Empty(), count: 3, repeating: 1)[3]
      }
    }
    #expect(index.said("Index out of range: index 3 in an array of 3 elements"))
    let count = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      try HeapCheck.heap().withMutator { mutator in
        _ = mutator.allocateBuffer(Empty(), count: -1, repeating: 1)
      }
    }
    #expect(count.said("a buffer cannot have -1 elements: the count is negative"))
    let heap = try HeapCheck.heap { $0.hardLimit = 16 << 20 }
    heap.withMutator { mutator in
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateBuffer(Empty(), count: 1, repeating: [1] as Set<Int>)
      }
      // What ARC manages is for objects: nobody would destroy it here.
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateBuffer(Owning(), count: 1, repeating: 1)
      }
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateBuffer(Empty(), count: 1, repeating: "text")
      }
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateBuffer(Frame(1), count: 1 << 40, repeating: HeapValue.nil)
      }
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateBuffer(Frame(1), count: .max, repeating: HeapValue.nil)
      }
      #expect(throws: HeapError.self) {
        try mutator.tryAllocateBuffer(Frame(1), count: 3 << 20, repeating: HeapValue.nil)
      }
      #expect((try? mutator.tryAllocateBuffer(Frame(1), count: 3, repeating: HeapValue.nil)) != nil)
    }
  }

  @Test("buffers know their types, and no other one is taken for them")
  func types() throws {
    let heap = try HeapCheck.heap()
    heap.withMutator { mutator in
      let frame = mutator.allocateBuffer(Frame(1), count: 2, repeating: HeapValue.nil)
      let any = AnyHeapRef(frame)
      #expect(any.is(FrameRef.self) && any.as(FrameRef.self) == frame)
      #expect(!any.is(HeapBuffer<Frame, Int>.self) && !any.is(HeapBuffer<Plain, HeapValue>.self))
      #expect(!any.is(Frame.self) && !any.is(HeapArray<HeapValue>.self))
      #expect(any.typeName == "HeapBuffer<Frame, HeapValue>")
      // An array of buffers is no buffer, and lies in no slot of one of the same size.
      for count in 0..<40 {
        let frames = mutator.allocateArray(of: FrameRef.self, count: count, repeating: frame)
        let other = mutator.allocateBuffer(Frame(1), count: count, repeating: HeapValue.nil)
        #expect(!AnyHeapRef(frames).is(FrameRef.self))
        #expect(AnyHeapRef(frames).is(HeapArray<FrameRef>.self))
        #expect(AnyHeapRef(other).is(FrameRef.self) && other.depth == 1)
      }
      let value = HeapValue(frame)
      #expect(value.is(FrameRef.self) && value.as(FrameRef.self)?.depth == 1)
    }
  }

  @Test(
    "what header and elements refer to lives, and a buffer may lie anywhere",
    arguments: StressMode.allCases)
  func keeping(mode: StressMode) throws {
    let heap = try mode.heap()
    let isDone = Event()
    let collecting = TestThread { while !isDone.hasHappened { heap.collect() } }
    let root: HeapRoot<FrameRef?> = heap.withMutator { HeapRoot(nil, in: $0) }
    heap.withMutator { mutator in
      // A stack of frames that grows and shrinks, with new values in each.
      var random = RandomNumbers("frames")
      var depth = 0
      for turn in 0..<(mode.isSlow ? 300 : 20_000) {
        let top = root.get(in: mutator)
        if depth > 0, random.oneIn(3) {
          depth -= 1
          root.set(top?.caller, in: mutator)
        } else if depth < 40 {
          depth += 1
          let frame = mutator.allocateBuffer(
            Frame(depth, caller: top), count: random.below(20),
            repeating: HeapValue(mutator.allocate(TestNode(key: depth))))
          frame.function = mutator.allocate(TestNode(key: -depth))
          frame.state = .returns(mutator.allocate(TestNode(key: depth * 1000)), turn)
          root.set(frame, in: mutator)
        }
        guard let frame = root.get(in: mutator), frame.count > 0 else { continue }
        // Kept in turn in the header and in an element.
        let place = random.below(frame.count)
        frame[place] = HeapValue(mutator.allocate(TestNode(key: frame.depth)))
        frame.function = mutator.allocate(TestNode(key: -frame.depth))
        if turn % 64 == 0 { mutator.safepoint() }
      }
      var found = 0
      var next = root.get(in: mutator)
      while let frame = next {
        #expect(frame.depth == depth - found && frame.function?.key == -frame.depth)
        #expect(frame.elements.allSatisfy { $0.as(TestNode.self)?.key == frame.depth })
        if case .returns(let node, _) = frame.state { #expect(node.key == frame.depth * 1000) }
        found += 1
        next = frame.caller
      }
      #expect(found == depth)
      let holder = mutator.allocate(Holder(frame: root.get(in: mutator)))
      holder.text = mutator.allocateBuffer(Plain(), count: 9, repeating: 1 as UInt8)
      mutator.collect()
      #expect(holder.text?.count == 9 && holder.frame == root.get(in: mutator))
      root.set(nil, in: mutator)
      mutator.blocking {
        isDone.happen()
        collecting.join()
      }
    }
    HeapCheck.expectEmpty(heap)
  }

  @Test(
    "checked mode names a stale reference that goes into a header or an element", arguments: 0..<4)
  func stale(way: Int) async {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      [way] in
      let heap = try StressMode.checkedEveryAllocation.heap()
      heap.withMutator { mutator in
        let frame = mutator.allocateBuffer(Frame(1), count: 3, repeating: HeapValue.nil)
        var kept: [HeapRef<TestNode>] = []
        Self.fill(&kept, in: mutator)
        for _ in 0..<100 { _ = mutator.allocate(TestNode()) }
        switch way {
        case 0: frame.function = kept[50]
        case 1: frame[2] = HeapValue(kept[50])
        case 2: _ = mutator.allocateBuffer(Wide(link: kept[50]), count: 1, repeating: 1)
        default: _ = mutator.allocateBuffer(Empty(), count: 1, repeating: Pair(link: kept[50]))
        }
      }
    }
    let places = [
      "stored into field function of a HeapBuffer<Frame, HeapValue> at 0x",
      "stored into element 2 of a HeapBuffer<Frame, HeapValue> at 0x",
      "stored into field link of a new HeapBuffer<Wide, Int>",
      "stored into field link of the elements of a new HeapBuffer<Empty, Pair>",
    ]
    #expect(result.said("a reference to an object that has been collected"))
    #expect(result.said(places[way]))
  }

  @Test("checked mode takes values without bytes: an object, a header, an element")
  func empty() throws {
    let heap = try StressMode.checked.heap()
    heap.withMutator { mutator in
      _ = mutator.allocate(Empty())
      #expect(mutator.allocateBuffer(Empty(), count: 2, repeating: Empty()).count == 2)
      #expect(mutator.allocateArray(of: Empty.self, count: 3, repeating: Empty()).count == 3)
    }
    HeapCheck.expectEmpty(heap)
  }

  /// Puts references where the collector does not look.
  @inline(never)
  private static func fill(_ kept: inout [HeapRef<TestNode>], in mutator: HeapMutator) {
    for key in 0..<100 { kept.append(mutator.allocate(TestNode(key: key))) }
  }
}
