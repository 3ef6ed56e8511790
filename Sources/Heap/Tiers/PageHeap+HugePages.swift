// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Huge pages that no thread waits for.
//
// A heap that is larger than a few MiB and is used in no order waits for the translation of
// addresses as often as for memory. A huge page has one translation for 2 MiB. But whoever touches
// memory first that has been advised to be huge waits until the system has found and cleared a huge
// page: for milliseconds at worst. So arenas get their memory as the system is set, and the
// collector's thread makes huge pages, of one range at a time, while it has no cycle to do:
//
//   prepared    before allocation comes there. A few ranges whose pages have no memory are kept ready.
//               The program then pays for no first touch at all.
//   collapsed   after the fact. The system copies a range into a huge page when all of it has memory
//               and nearly all is in use: where allocation was faster than the collector's thread.
//
// A bit for each range says that a huge page was asked for there (`ArenaTables.isHuge`). That is done
// once, whatever comes of it, until memory of the range is given back. What is prepared stays
// `released`, because it reads as zero; so a released page of a huge range does have memory. Giving
// back clears these bits first, and takes the advice back, so that the next touch is that of a small
// page.
//
// The first 4 MiB of a heap stay on small pages, for the sake of small heaps.
//
// All of this is advice. Whatever else is done with the memory at the same time, its contents and
// its place stay the same:
//
//   A range is prepared while its pages are out of the page allocator, as when memory is given back
//   (PageHeap+Growth.swift). So no thread touches it, or waits.
//   A thread uses a range that is being collapsed. It waits for the copy, half a millisecond: and so
//   does a thread of the process that touches other memory for the first time just then.
//   A span of such a range is freed, or handed out. Only the page heap's bits change, and nobody
//   looks at them during the call.
//   Memory is given back. `conversion` is held for either, so it is done before or after.
//   Arenas are added. Nobody waits for the other: to make a huge page can take milliseconds.
//   The heap ends. Its collector's thread has ended before the arenas are released.
//
// Guarded by  `conversion`, across the system calls; `state` for moments. Owner of what is not
//             guarded: the collector's thread.
// Pacing      HugePageWork, in the collector.

internal import Synchronization

extension PageHeap {
  /// What the page heap knows of its huge pages.
  struct HugePageState {
    /// The arena that was added first.
    var firstArena: ArenaIndex?
    /// Ranges that were prepared, ascending; of the last look: allocation has come to some since.
    var ready: [HugeRange] = []
    /// When fresh pages are taken from here on, more ranges are to be prepared.
    var askFrom = PageIndex.end
    /// No range below can be prepared.
    var prepareFrom = HugeRange(0)
    /// No range below could be collapsed since `lookAgain`.
    var collapseFrom = HugeRange(0)
    /// How often a huge page was asked for.
    var asked = 0

    /// Memory was given back, so there are more ranges to prepare.
    mutating func noteReleased() {
      prepareFrom = HugeRange(0)
      askFrom = PageIndex(0)
    }
  }

  // MARK: - Tuning

  /// Bytes of a heap, from the address on where it began, that stay on small pages. More spares a
  /// small heap memory that it does not use, less spares a larger one misses of the translation
  /// cache.
  private static var smallBytes: Int { Geometry.chunkSize }

  /// Ranges that are kept ready, of a heap that uses so many bytes. More means that allocation catches
  /// up less often, less that less memory waits to be used: it is a sixteenth of the heap at most.
  private static func rangesToKeepReady(inUse bytes: Int) -> Int {
    min((bytes + 32 << 20) / (64 << 20), 4)
  }

  /// Bytes in use from which on a range is kept ready.
  private static var useBeforeFirst: Int { 32 << 20 }

  /// Pages of a range that may be free when it is collapsed. More means more huge pages, less that
  /// more of each is in use.
  private static var mostFree: Int { HugeRange.pageCount / 8 }

  // MARK: - Ahead of allocation

  /// Arenas were added. The lock is held.
  func noteArenas(_ arenas: ClosedRange<ArenaIndex>, _ state: inout State) {
    guard makesHugePages else { return }
    if state.huge.firstArena == nil {
      state.huge.firstArena = arenas.lowerBound
      state.huge.askFrom = Self.firstAsk(arenas.lowerBound)
    } else {
      state.huge.askFrom = min(state.huge.askFrom, arenas.pages.start)
    }
    state.huge.prepareFrom = min(
      state.huge.prepareFrom, HugeRange(holding: arenas.lowerBound.address))
  }

  /// Where a heap has its 32 MiB if all below is in use.
  private static func firstAsk(_ arena: ArenaIndex) -> PageIndex {
    arena.pages.start + useBeforeFirst >> Int(Geometry.pageShift)
  }

  /// Pages were taken, some of which read as zero. The lock is held.
  @inline(__always)
  func noteFreshPages(from start: PageIndex, _ state: inout State) {
    guard start >= state.huge.askFrom else { return }
    state.huge.askFrom = .end
    // Relaxed: whoever sees it takes the lock before it looks at anything.
    asksForHugePages.store(true, ordering: .relaxed)
  }

  /// Whether allocation has come to where more ranges are to be prepared. Answers yes once.
  @inline(__always)
  package func takeAsk() -> Bool {
    asksForHugePages.load(ordering: .relaxed)
      && asksForHugePages.exchange(false, ordering: .relaxed)
  }

  /// Puts a huge page behind the lowest free range that has no memory, if one more is to be kept
  /// ready; whether it did. The collector's thread.
  package func prepareHugePage() -> Bool {
    guard makesHugePages else { return false }
    return conversion.withLock { _ in
      guard let range = state.withLock({ takeRangeToPrepare(&$0) }) else { return false }
      let isPopulated = (try? VirtualMemory.populate(range)) != nil
      return state.withLock { state in
        state.pages.free(range.pages)
        // Where there is no memory to be had, nobody asks until a cycle has been made.
        guard isPopulated else { return false }
        let place = state.huge.ready.firstIndex { $0 > range } ?? state.huge.ready.endIndex
        state.huge.ready.insert(range, at: place)
        state.huge.askFrom = state.huge.ready[0].pages.start
        return true
      }
    }
  }

  /// A range to prepare, its pages taken out of the page allocator; nil: none is wanted, or there
  /// is none. Nobody asks until the range is ready.
  private func takeRangeToPrepare(_ state: inout State) -> HugeRange? {
    state.huge.ready.removeAll { !Self.isUnused($0) || !ArenaTables.of($0.address).isHuge($0) }
    let ready = state.huge.ready.count
    let wanted = Self.rangesToKeepReady(inUse: state.pagesInUse << Int(Geometry.pageShift))
    // A heap that is too small asks when it is larger: `noteArenas`, `lookAgain`.
    guard wanted > 0 else { return nil }
    state.huge.askFrom = state.huge.ready.first?.pages.start ?? .end
    guard ready < wanted,
      // What the hard limit refuses is not prepared either.
      (ready + 1) * HugeRange.pageCount <= pageLimit - state.pagesInUse,
      // Threads that need pages meanwhile find others.
      state.pages.freePages >= 2 * HugeRange.pageCount,
      let range = Self.firstRange(
        from: state.huge.prepareFrom, in: state.arenas,
        where: {
          mayBecomeHuge($0, state.huge) && Self.isUnused($0)
        })
    else { return nil }
    state.huge.prepareFrom = range.next
    state.huge.askFrom = .end
    state.pages.take(range.pages)
    setHuge(range, &state)
    return range
  }

  /// Whether no page of a range was used since it had no memory.
  private static func isUnused(_ range: HugeRange) -> Bool {
    ArenaTables.of(range.address).releasedPages(of: range.chunk).containsAll(range.inChunk)
  }

  // MARK: - After the fact

  /// What came of a look for a range to collapse.
  package enum Collapse: Hashable, Sendable {
    /// There is none.
    case nothing
    /// One has been collapsed, or never can be. More were than the heap has: so some of them again.
    case done(isRepeated: Bool)
    /// The system has no huge page, or no time.
    case refused
  }

  /// A cycle has been made: what was said of ranges before may not be right any longer.
  package func lookAgain() {
    state.withLock { state in
      state.huge.collapseFrom = HugeRange(0)
      if let arena = state.huge.firstArena, state.huge.ready.isEmpty {
        state.huge.askFrom = min(state.huge.askFrom, Self.firstAsk(arena))
      }
    }
  }

  /// Turns the next range that is in use into a huge page. The collector's thread.
  package func collapseHugePage() -> Collapse {
    guard makesHugePages, nextRangeInUse() != nil else { return .nothing }
    fetchHugePage()
    return conversion.withLock { _ in
      guard let range = nextRangeInUse(takes: true) else { return .nothing }
      do throws(SystemFailure) {
        try VirtualMemory.collapse(range)
      } catch  where error.isTemporary {
        state.withLock { _ in ArenaTables.of(range.address).setHuge(range, to: false) }
        return .refused
      } catch {
        // The range is such that the system does not want to. It is not tried again.
      }
      let isRepeated = state.withLock { $0.huge.asked > $0.arenas.count * HugeRange.perArena }
      return .done(isRepeated: isRepeated)
    }
  }

  /// The next range that is in use and on small pages.
  ///
  /// - Parameter takes: a huge page is asked for there now.
  private func nextRangeInUse(takes: Bool = false) -> HugeRange? {
    // An arena at a time: so the lock is held for a few hundred loads.
    for arena in arenas {
      let found = state.withLock { state -> HugeRange? in
        let first = HugeRange(holding: arena.address)
        guard state.huge.collapseFrom < first.advanced(by: HugeRange.perArena) else { return nil }
        let found = Self.firstRange(from: state.huge.collapseFrom, in: [arena]) {
          mayBecomeHuge($0, state.huge) && Self.isInUse($0)
        }
        state.huge.collapseFrom = found ?? first.advanced(by: HugeRange.perArena)
        if takes, let found { setHuge(found, &state) }
        return found
      }
      if let found { return found }
    }
    return nil
  }

  /// Whether all of a range has memory, and nearly all is in use.
  private static func isInUse(_ range: HugeRange) -> Bool {
    let tables = ArenaTables.of(range.address)
    let free = tables.freePages(of: range.chunk).count(in: range.inChunk)
    return free <= mostFree
      && tables.releasedPages(of: range.chunk).containsNone(range.inChunk)
  }

  /// Has the system find and clear a huge page, and give it back. The next one that it gives to this
  /// processor is most probably the same.
  ///
  /// It would do that in the midst of collapsing a range, while threads that touch memory for the
  /// first time wait. On a virtual machine, where the memory may have to come from the machine's
  /// host, it takes milliseconds.
  private func fetchHugePage() {
    // Relaxed: this thread alone uses the word until the heap ends.
    var address = spareRange.load(ordering: .relaxed)
    if address == 0 {
      guard
        let reserved = try? VirtualMemory.reserve(
          size: HugeRange.size, alignment: HugeRange.size)
      else { return }
      address = reserved
      spareRange.store(address, ordering: .relaxed)
    }
    // Whatever of this fails, collapsing takes longer.
    try? VirtualMemory.commit(address, size: HugeRange.size)
    try? VirtualMemory.populate(HugeRange(holding: address))
    try? VirtualMemory.discard(address, size: HugeRange.size)
  }

  // MARK: - Ranges

  /// The first range of some arenas, at or after `start`, that something is true of.
  private static func firstRange(
    from start: HugeRange, in arenas: [ArenaIndex], where isRight: (HugeRange) -> Bool
  ) -> HugeRange? {
    for arena in arenas {
      let first = HugeRange(holding: arena.address)
      for place in 0..<HugeRange.perArena {
        let range = first.advanced(by: place)
        if range >= start, isRight(range) { return range }
      }
    }
    return nil
  }

  /// Whether a huge page may be asked for in a range, and was not yet. The lock is held.
  private func mayBecomeHuge(_ range: HugeRange, _ huge: HugePageState) -> Bool {
    let arena = range.chunk.arena
    let isFirst = arena == huge.firstArena && range.address - arena.address < Self.smallBytes
    return !isFirst && !ArenaTables.of(range.address).isHuge(range)
  }

  private func setHuge(_ range: HugeRange, _ state: inout State) {
    ArenaTables.of(range.address).setHuge(range, to: true)
    state.huge.asked += 1
  }

  // MARK: - Giving back

  /// What was prepared in a chunk counts as used from now on: it has memory to give back. The lock is
  /// held.
  func forgetPrepared(_ chunk: ChunkIndex, _ state: inout State) {
    let tables = ArenaTables.of(chunk.address)
    let released = tables.releasedPages(of: chunk)
    for range in chunk.hugeRanges where tables.isHuge(range) {
      state.releasedPages -= released.count(in: range.inChunk)
      released.remove(range.inChunk)
    }
  }

  // MARK: - Figures

  /// Ranges where huge pages were asked for, and pages of them that were prepared and not used.
  static func countHuge(_ state: borrowing State) -> (ranges: Int, prepared: Int) {
    var (ranges, prepared) = (0, 0)
    for arena in state.arenas {
      let tables = ArenaTables.of(arena.address)
      guard tables.huge != 0 else { continue }
      for chunk in arena.chunks {
        for range in chunk.hugeRanges where tables.isHuge(range) {
          ranges += 1
          prepared += tables.releasedPages(of: chunk).count(in: range.inChunk)
        }
      }
    }
    return (ranges, prepared)
  }
}
