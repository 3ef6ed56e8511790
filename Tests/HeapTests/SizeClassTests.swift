// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Size classes, proven from the rules that SizeClass.swift states: the table is derived again
// here, by other code, and every number that is looked up is compared with the arithmetic
// that it stands for. A copy of the table is checked last, against slips in the rules.

import Heap
import TestSupport
import Testing

@Suite("Size classes")
struct SizeClassTests {
  /// A class as the rules make it.
  private struct Derived: Equatable {
    var size: Int
    var pages: Int
    var slots: Int { pages * 8192 / size }
  }

  private static func derive() -> [Derived] {
    func step(from size: Int) -> Int {
      switch size {
      case ..<32: 8
      case ..<128: 16
      case ..<2048: (1 << (Int.bitWidth - 1 - size.leadingZeroBitCount)) / 8
      default: 256
      }
    }
    var classes: [Derived] = []
    var size = 16
    while size <= 32768 {
      // As few pages as leave at most an eighth of the span behind the last slot.
      let pages = (1...10).first { $0 * 8192 >= size && ($0 * 8192 % size) * 8 <= $0 * 8192 }!
      let candidate = Derived(size: size, pages: pages)
      if let last = classes.last, last.pages == pages, last.slots == candidate.slots {
        classes.removeLast()
      }
      classes.append(candidate)
      size += step(from: size)
    }
    return classes.map {
      Derived(size: max($0.size, $0.pages * 8192 / $0.slots / 128 * 128), pages: $0.pages)
    }
  }

  @Test("the table is what the rules derive")
  func derivation() {
    let derived = Self.derive()
    #expect(derived.count == 66)
    #expect(SizeClass.small.map { Derived(size: $0.slotSize, pages: $0.spanPages) } == derived)
    #expect(SizeClass.small.map(\.slotsPerSpan) == derived.map(\.slots))
  }

  @Test("sizes ascend, are multiples of 8 from 16 on, and contain every power of two")
  func order() {
    let sizes = SizeClass.small.map(\.slotSize)
    #expect(zip(sizes, sizes.dropFirst()).allSatisfy { $0 < $1 })
    #expect(sizes.allSatisfy { $0 % 8 == 0 })
    #expect(sizes.filter { $0 >= 32 }.allSatisfy { $0 % 16 == 0 })
    #expect(sizes.filter { $0 >= 1024 }.allSatisfy { $0 % 128 == 0 })
    for shift in 4...15 { #expect(sizes.contains(1 << shift)) }
    #expect(sizes.first == 16)
    #expect(sizes.last == SizeClass.maxSmallSize)
  }

  @Test("at most an eighth of a span is behind its last slot")
  func tailWaste() {
    for sizeClass in SizeClass.small {
      let bytes = sizeClass.spanPages * Geometry.pageSize
      let tail = bytes - sizeClass.slotsPerSpan * sizeClass.slotSize
      #expect(tail >= 0 && tail < sizeClass.slotSize)
      #expect(tail * 8 <= bytes, "class \(sizeClass.number)")
      #expect((1...10).contains(sizeClass.spanPages))
      #expect(sizeClass.slotsPerSpan <= 512)
    }
  }

  @Test("from 128 bytes on, rounding up costs at most 16 % of a slot and 17 % of a span")
  func roundingWaste() {
    let small = SizeClass.small
    for (below, sizeClass) in zip(small, small.dropFirst()) where sizeClass.slotSize >= 128 {
      let (size, bytes) = (sizeClass.slotSize, sizeClass.spanPages * Geometry.pageSize)
      #expect((size - below.slotSize) * 100 <= size * 16, "class \(sizeClass.number)")
      let used = sizeClass.slotsPerSpan * (below.slotSize + 1)
      #expect((bytes - used) * 100 <= bytes * 17, "class \(sizeClass.number)")
    }
  }

  @Test("every size gets the smallest class that holds it")
  func lookup() {
    let sizes = [0] + SizeClass.small.map(\.slotSize)
    var wrong: [Int] = []
    for size in 1...SizeClass.maxSmallSize {
      guard let sizeClass = SizeClass.of(size: size) else {
        wrong.append(size)
        continue
      }
      let number = Int(sizeClass.number)
      if !(sizes[number] >= size && sizes[number - 1] < size) { wrong.append(size) }
    }
    #expect(wrong.isEmpty)
    #expect(SizeClass.of(size: 0) == SizeClass(1))
  }

  @Test("what is larger than 32 KiB, or negative, has no class")
  func noClass() {
    #expect(SizeClass.of(size: 32768) == SizeClass(66))
    #expect(SizeClass.of(size: 32769) == nil)
    #expect(SizeClass.of(size: .max) == nil)
    #expect(SizeClass.of(size: -1) == nil)
    #expect(SizeClass.of(size: .min) == nil)
  }

  @Test("an alignment gets the smallest class whose slots all lie at multiples of it")
  func alignment() {
    for shift in 0...13 {
      let alignment = 1 << shift
      for size in [0, 1, 8, 9, 24, 25, 33, 48, 100, 1000, 1025, 5000, 8192, 8193, 24577, 32768] {
        let expected = SizeClass.small.first {
          $0.slotSize >= size && $0.slotSize % alignment == 0
        }
        #expect(
          SizeClass.of(size: size, alignment: alignment) == expected,
          "\(size) bytes aligned to \(alignment)")
      }
    }
    #expect(SizeClass.of(size: 8, alignment: 16384) == nil)
    #expect(SizeClass.of(size: 32769, alignment: 8) == nil)
    #expect(SizeClass.of(size: 32768, alignment: 8192)?.slotSize == 32768)
  }

  @Test("the reciprocal divides every offset of a span exactly")
  func reciprocal() {
    for sizeClass in SizeClass.small {
      let (size, reciprocal) = (sizeClass.slotSize, UInt64(sizeClass.reciprocal))
      var wrong = 0
      var (index, next) = (UInt64(0), size)  // offset / size, without dividing
      for offset in 0..<sizeClass.spanPages * Geometry.pageSize {
        if offset == next { (index, next) = (index &+ 1, next &+ size) }
        if (UInt64(truncatingIfNeeded: offset) &* reciprocal) &>> 32 != index { wrong += 1 }
      }
      #expect(wrong == 0, "class \(sizeClass.number)")
    }
  }

  @Test("class 0 is large, and all of its offsets are in slot 0")
  func large() {
    #expect(SizeClass.large.isLarge && SizeClass.large.number == 0)
    #expect(SizeClass.large.reciprocal == 0)
    #expect(SizeClass.small.allSatisfy { !$0.isLarge })
    #expect(SizeClass.count == SizeClass.small.count + 1)
  }

  @Test("a span class is a size class and the noscan bit, each its own number")
  func spanClasses() {
    var numbers: Set<UInt8> = []
    for sizeClass in [.large] + SizeClass.small {
      for noscan in [false, true] {
        let spanClass = SpanClass(sizeClass, noscan: noscan)
        #expect(spanClass.sizeClass == sizeClass)
        #expect(spanClass.isNoscan == noscan)
        #expect(SpanClass(spanClass.number) == spanClass)
        numbers.insert(spanClass.number)
      }
    }
    #expect(numbers == Set(0..<UInt8(SpanClass.count)))
  }

  @Test("there is no 67th size class, no 134th span class, and no alignment of twelve")
  func bounds() async {
    var result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = SizeClass(67)
    }
    #expect(result.said("there are 67 size classes"))
    result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = SpanClass(134)
    }
    #expect(result.said("there are 134 span classes"))
    result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      _ = SizeClass.of(size: 8, alignment: 12)
    }
    #expect(result.said("an alignment is a power of two"))
  }

  @Test("slots start where multiples of their size lie, to the granule")
  func starts() {
    for sizeClass in SizeClass.small {
      var expected: UInt = 0
      for start in stride(from: 0, to: 64 * 16, by: sizeClass.slotSize) {
        expected |= 1 << UInt(start / 16)
      }
      #expect(sizeClass.starts == expected, "class \(sizeClass.number)")
    }
    #expect(SizeClass.large.starts == 1)
  }

  @Test("the table is Go's without its slots of 8 bytes")
  func copy() {
    let sizes = [
      16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320,
      352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792,
      2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472,
      9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264,
      28672, 32768,
    ]
    let slots = [
      512, 341, 256, 170, 128, 102, 85, 73, 64, 56, 51, 46, 42, 39, 36, 34, 32, 28, 25, 23,
      21, 19, 18, 17, 16, 14, 12, 11, 10, 9, 8, 7, 6, 11, 5, 9, 4, 7, 3, 8, 5, 7, 2, 5, 3, 4, 5, 6,
      7, 1, 6, 5, 4, 3, 2, 3, 4, 1, 4, 3, 2, 3, 1, 3, 2, 1,
    ]
    #expect(SizeClass.small.map(\.slotSize) == sizes)
    #expect(SizeClass.small.map(\.slotsPerSpan) == slots)
  }
}
