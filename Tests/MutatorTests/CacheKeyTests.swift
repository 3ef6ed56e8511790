// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The keys of a thread's cache: what must never be the same, and what should not lie in one place.

import Heap
import Mutator
import Testing

@Suite("Cache keys")
struct CacheKeyTests {
  private struct First: HeapObject { var value = 0 }
  private struct Second: HeapObject { var value = 0 }

  @Test("a type's key is the same whether the type is known or a value, and another type's is not")
  func objects() {
    let type: any HeapObject.Type = First.self
    #expect(CacheKey.object(type) == CacheKey.object(First.self))
    #expect(CacheKey.object(First.self) != CacheKey.object(Second.self))
  }

  @Test("objects, arrays of every size class and tiny slots have keys of their own")
  func distinct() {
    var keys: Set<UInt> = [CacheKey.tinySlots, 0]
    for type in [First.self, Second.self] as [any HeapObject.Type] {
      #expect(keys.insert(CacheKey.object(type)).inserted)
    }
    for element in [First.self, Second.self, Int.self, UInt8.self] as [Any.Type] {
      for number in 0..<UInt8(SizeClass.count) {
        #expect(keys.insert(CacheKey.array(of: element, in: SizeClass(number))).inserted)
      }
    }
  }

  @Test("the size classes of one element type are spread over a cache's places")
  func spread() {
    for mask in [63, 255] as [UInt] {
      let homes = SizeClass.small.map {
        ThreadCache.home(of: CacheKey.array(of: Int.self, in: $0), mask: mask)
      }
      // 67 classes: in 64 places only three of them meet others.
      #expect(Set(homes).count >= 64, "a mask of \(mask)")
    }
  }
}
