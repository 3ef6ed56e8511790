// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Memory for the heap's own records: spans, layouts and shelves.
//
// Side tables, caches and other records refer to a record by its plain address. A thread that
// looks up a stale word must still find a record, if a dead one. So records are never freed while
// the heap lives. `RecordMemory` hands out zeroed pieces of large blocks, each on cache lines of
// its own, and frees all blocks at once, at the heap's end. Dead records of spans are used again:
// the page heap keeps a list of them.
//
// Guarded by  a lock inside. It is held while the system is asked for another block: records are
//             made rarely.

/// Bump-allocated memory that lives as long as its heap.
package final class RecordMemory: Sendable {
  private struct State {
    var blocks: [(address: UInt, size: Int)] = []
    var cursor: UInt = 0
    var limit: UInt = 0
    /// What is to be done before the blocks are freed.
    var endings: [@Sendable () -> Void] = []
  }

  /// Bytes taken from the system at a time. More wastes more in a small heap, less makes more
  /// system calls in a large one.
  private static let blockSize = 256 << 10

  private let state = HeapLock(State(), rank: .records)

  package init() {}

  deinit {
    for ending in state.withLock({ $0.endings }) { ending() }
    state.withLock { state in
      for block in state.blocks { VirtualMemory.release(block.address, size: block.size) }
    }
  }

  /// The address of `size` zeroed bytes on a cache line of their own.
  package func allocate(size: Int) throws(SystemFailure) -> UInt {
    try state.withLock { state throws(SystemFailure) -> UInt in
      let size = UInt(size).aligned(up: 64)
      if state.limit - state.cursor < size {
        let blockSize = max(Self.blockSize, Int(size.aligned(up: 1 << 16)))
        let block = try VirtualMemory.reserve(
          size: blockSize, alignment: VirtualMemory.systemPageSize)
        do throws(SystemFailure) {
          try VirtualMemory.commit(block, size: blockSize)
        } catch {
          VirtualMemory.release(block, size: blockSize)
          throw error
        }
        state.blocks.append((block, blockSize))
        state.cursor = block
        state.limit = block + UInt(blockSize)
      }
      defer { state.cursor += size }
      return state.cursor
    }
  }

  /// Adds something to do before the memory is freed: destroying a record that owns something.
  package func atEnd(_ ending: @escaping @Sendable () -> Void) {
    state.withLock { $0.endings.append(ending) }
  }

  /// Bytes taken from the system so far.
  package var mappedBytes: Int {
    state.withLock { $0.blocks.reduce(0) { $0 + $1.size } }
  }
}
