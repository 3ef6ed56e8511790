// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Memory for the heap's own records: zeroed, on cache lines of its own, never moved, never
// given out twice, and gone with its owner.

import Heap
import Synchronization
import TestSupport
import Testing

@Suite("Record memory")
struct RecordsTests {
  @Test("records are zeroed, on cache lines of their own, and disjoint")
  func disjoint() throws {
    let memory = RecordMemory()
    var random = RandomNumbers("records")
    var ranges: [Range<UInt>] = []
    for _ in 0..<2000 {
      let size = Int.random(in: 1...1500, using: &random)
      let address = try memory.allocate(size: size)
      #expect(address % 64 == 0)
      let bytes = unsafe UnsafeMutableRawBufferPointer(
        start: UnsafeMutableRawPointer(bitPattern: address), count: size)
      let isZero = unsafe bytes.allSatisfy { $0 == 0 }
      #expect(isZero)
      for i in bytes.indices { unsafe bytes[i] = 0xff }
      ranges.append(address..<address + UInt(size))
    }
    ranges.sort { $0.lowerBound < $1.lowerBound }
    for (a, b) in zip(ranges, ranges.dropFirst()) { #expect(a.upperBound <= b.lowerBound) }
  }

  @Test("memory is taken a block at a time, and more for a record larger than a block")
  func blocks() throws {
    let memory = RecordMemory()
    #expect(memory.mappedBytes == 0)
    _ = try memory.allocate(size: 1)
    let block = memory.mappedBytes
    #expect(block == 256 << 10)
    for _ in 1..<(block / 64) { _ = try memory.allocate(size: 64) }
    #expect(memory.mappedBytes == block, "a block is used to its last line")
    _ = try memory.allocate(size: 1)
    #expect(memory.mappedBytes == 2 * block)
    let large = try memory.allocate(size: 3 << 20)
    #expect(memory.mappedBytes >= 2 * block + 3 << 20)
    write(1, at: large + (3 << 20) - 8)
  }

  @Test("what is to be done at the end is done once, when the records are still there")
  func endings() throws {
    final class Witness: Sendable { let seen = Atomic<UInt>(0) }
    let witness = Witness()
    do {
      let memory = RecordMemory()
      let address = try memory.allocate(size: 8)
      write(21, at: address)
      memory.atEnd { witness.seen.add(word(at: address), ordering: .relaxed) }
      #expect(witness.seen.load(ordering: .relaxed) == 0)
      withExtendedLifetime(memory) {}
    }
    #expect(witness.seen.load(ordering: .relaxed) == 21)
  }

  @Test("two threads are never given the same record")
  func threads() {
    let memory = RecordMemory()
    let found = HeapLock<[UInt]>([], rank: .verifier)
    onThreads(4) { _ in
      let mine = (0..<3000).compactMap { _ in try? memory.allocate(size: 96) }
      found.withLock { $0 += mine }
    }
    let all = found.withLock { $0 }
    #expect(all.count == 12_000)
    #expect(Set(all).count == all.count)
  }

  @Test("when the system refuses, the failure is thrown, nothing is kept, and the next try works")
  func refusal() async {
    await #expect(processExitsWith: .success) {
      // The calls of a block: mmap, then mprotect.
      for (call, operation) in [(1, "mmap"), (2, "mprotect")] {
        let memory = RecordMemory()
        VirtualMemory.failCall(in: call)
        do throws(SystemFailure) {
          _ = try memory.allocate(size: 8)
          broken("call \(call) did not fail")
        } catch {
          require(error.operation == operation, "\(error) in call \(call)")
        }
        require(memory.mappedBytes == 0, "a failed block is counted")
        VirtualMemory.failCall(in: 0)
        write(1, at: try memory.allocate(size: 8))
      }
    }
  }
}
