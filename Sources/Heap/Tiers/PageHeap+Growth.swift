// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// The page heap and the system: adding arenas, and giving memory back.
//
// Growth is contiguous while the system lets us have the addresses behind the last arena, and
// goes anywhere when it does not. So a C library that has mapped the neighbouring addresses
// never stops the heap from growing. The first arena's address is random.
//
// New arenas are set up completely (addresses, memory, side tables, memory for their summaries)
// before the page allocator hears of them. Until then the `growth` lock keeps other threads from
// growing the heap too, but not from allocating.
//
// Memory is given back one chunk at a time, in three steps. Free pages are taken out of the page
// allocator, as an allocation would take them. The system call is made. They are put back, and
// are known to be zero. Another thread that misses them waits for `growth` and finds them again;
// it does not add an arena.
//
// Guarded by  `growth`, and `conversion` too while memory is given back; `state` for the moments that
//             touch the pages.

extension PageHeap {
  // MARK: - Growth

  /// Adds arenas for the pages of a request and takes them; nil when the system refuses.
  func grow(for request: Request) -> Found? {
    growth.withLock { growth in
      // The thread that had the lock before may have added arenas, or put pages back.
      let found = state.withLock { take(request, &$0) }
      guard case .noPages = found else { return found }
      let needed = (request.pageCount + Geometry.pagesPerArena - 1) >> Int(Geometry.arenaPageShift)
      guard let arenas = try? makeArenas(needed, at: growth.nextArena) else { return nil }
      growth.nextArena = arenas.upperBound.advanced(by: 1)
      return state.withLock { state in
        state.pages.add(arenas)
        let place = state.arenas.firstIndex { $0 > arenas.lowerBound } ?? state.arenas.endIndex
        state.arenas.insert(contentsOf: arenas, at: place)
        state.releasedPages += arenas.pages.count
        noteArenas(arenas, &state)
        return take(request, &state)
      }
    }
  }

  /// New arenas with tables, all of their pages released. Nothing is left behind on failure.
  private func makeArenas(
    _ count: Int, at hint: ArenaIndex
  ) throws(SystemFailure) -> ClosedRange<ArenaIndex> {
    let size = count * Geometry.arenaSize
    let address = try VirtualMemory.reserve(
      size: size, alignment: Geometry.arenaSize, hint: hint.address)
    let first = ArenaIndex(holding: address)
    let arenas = first...first.advanced(by: count - 1)
    var published: [ArenaIndex] = []
    do throws(SystemFailure) {
      try VirtualMemory.commit(address, size: size)
      try summaries.commit(arenas)
      for arena in arenas {
        let tables = try ArenaTables.publish(arena, owner: owner)
        published.append(arena)
        for chunk in arena.chunks {
          tables.releasedPages(of: chunk).insert(0..<PageBitmap.pageCount)
        }
      }
    } catch {
      for arena in published { ArenaTables.of(arena.address).withdraw(arena) }
      VirtualMemory.release(address, size: size)
      throw error
    }
    adviseHugePages(address, size: size)
    return arenas
  }

  private func adviseHugePages(_ address: UInt, size: Int) {
    switch hugePages {
    // Automatic ones are made later: PageHeap+HugePages.swift.
    case .automatic, .system: break
    case .always: VirtualMemory.adviseHugePages(address, size: size, wanted: true)
    case .never: VirtualMemory.adviseHugePages(address, size: size, wanted: false)
    }
  }

  // MARK: - Giving back

  /// Returns the memory behind every free page to the system. Bytes returned.
  package func releaseFreePages() -> Int {
    var count = 0
    for arena in arenas {
      for chunk in arena.chunks {
        count += conversion.withLock { _ in
          growth.withLock { _ in releaseFreePages(of: chunk) }
        }
      }
    }
    return count * Geometry.pageSize
  }

  /// - Precondition: `conversion` and `growth` are held.
  private func releaseFreePages(of chunk: ChunkIndex) -> Int {
    let tables = ArenaTables.of(chunk.address)
    let (free, released) = (tables.freePages(of: chunk), tables.releasedPages(of: chunk))
    // Pages with memory, out of the page allocator.
    let taken = state.withLock { state -> [Range<Int>] in
      forgetPrepared(chunk, &state)
      var taken: [Range<Int>] = []
      var place = 0
      while let run = free.nextRun(from: place, without: released) {
        state.pages.take(chunk.pages(run))
        taken.append(run)
        place = run.upperBound
      }
      return taken
    }
    guard !taken.isEmpty else { return 0 }
    // The next touch of what is given back shall not wait for a huge page. (The advice holds for
    // memory that is put there later: what stays in use stays as it is.)
    let split = chunk.hugeRanges.filter { range in
      tables.isHuge(range) && taken.contains { $0.overlaps(range.inChunk) }
    }
    for range in split {
      VirtualMemory.adviseHugePages(range.address, size: HugeRange.size, wanted: false)
    }
    // What the system refuses stays as it is.
    let discarded = taken.map { run in
      let pages = chunk.pages(run)
      return (try? VirtualMemory.discard(pages.start.address, size: pages.byteCount)) != nil
    }
    return state.withLock { state in
      var count = 0
      for range in split { tables.setHuge(range, to: false) }
      state.huge.noteReleased()
      for (run, isZero) in zip(taken, discarded) {
        state.pages.free(chunk.pages(run))
        guard isZero else { continue }
        released.insert(run)
        count += run.count
      }
      state.releasedPages += count
      return count
    }
  }
}
