// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A marker: turns references into marks, and marks into spans to scan.
//
// White objects have a clear mark bit; grey ones are marked and wait, with their span, to be
// scanned; black ones are scanned. A marker belongs to one thread at a time: a worker has one,
// and each mutator has one for its stack, its barrier buffer and its assists.
//
// Between reading a reference and testing its mark bit lies a ring of sixteen targets. What
// enters the ring has its page entry read and its mark word prefetched; by the time it leaves,
// the word is in the cache. Nothing is marked before it leaves, so a marker that is about to
// let go (`settle`) empties its ring.
//
// Owner       the thread that marks.
// Ordering    See Note [Span queue] in SpanQueue.swift.
// Scanning: Marker+Scan.swift

internal import CHeapShims
internal import Heap
internal import Synchronization

/// An object that is to be marked.
struct MarkTarget {
  /// The object's address; 0 for an empty place of the ring.
  var object: UInt
  var mark: MarkBit
  /// What the objects of its page are like.
  var kind: PageLayout

  static var none: MarkTarget {
    MarkTarget(object: 0, mark: MarkBit(word: 0, bit: 0), kind: PageLayout(bits: 0))
  }
}

/// The marking state of one thread.
@safe package struct Marker: ~Copyable {
  /// Targets in flight. More hides more latency, until the prefetched lines push each other
  /// out (or the processor has no place to note more misses).
  private static var ringSize: Int { 16 }

  private let ring: UnsafeMutablePointer<MarkTarget>
  private var ringPlace = 0
  /// Spans to scan that nobody else sees.
  package var local = SpanList()

  /// Bytes and objects marked, and bytes scanned, since `settle` added them to the heap's.
  package var markedBytes = 0
  package var markedObjects = 0
  package var scannedBytes = 0

  let owner: UInt
  private let sharedReference: Unmanaged<SharedMarking>

  /// A marker of a heap. The heap ends after all of its markers.
  package init(_ shared: SharedMarking) {
    unsafe ring = .allocate(capacity: Self.ringSize)
    unsafe ring.initialize(
      repeating: .none, count: Self.ringSize)
    owner = shared.owner
    unsafe sharedReference = Unmanaged.passUnretained(shared)
  }

  deinit { unsafe ring.deallocate() }

  /// What the heap's markers share.
  @inline(__always)
  func withShared<Result>(_ body: (SharedMarking) -> Result) -> Result {
    // SAFETY: a heap outlives its markers. No reference is counted.
    unsafe sharedReference._withUnsafeGuaranteedRef(body)
  }

  // MARK: - Marking

  /// Marks the object that a heap word refers to.
  /// - Precondition: `reference` is not zero and refers to an object of this heap.
  @inline(__always)
  package mutating func mark(_ reference: UInt) {
    let target = Self.locate(reference)
    heap_prefetch_write(target.mark.word)
    let place = unsafe ring + ringPlace
    let oldest = unsafe place.pointee
    unsafe place.pointee = target
    ringPlace = (ringPlace + 1) & (Self.ringSize - 1)
    if oldest.object != 0 { finish(oldest) }
  }

  /// Marks what a word refers to if it is the address of an allocated slot of this heap, or
  /// lies inside one; any word may be given.
  package mutating func markConservatively(_ word: UInt) {
    guard let (span, slot) = HeapSpan.lookUp(word, owner: owner) else { return }
    finish(Self.locate(span.address(ofSlot: slot)))
  }

  /// The object of a reference that is known to be one.
  @inline(__always)
  private static func locate(_ reference: UInt) -> MarkTarget {
    let page = PageIndex(holding: reference)
    let kind = unsafe PageLayout(
      bits: ArenaTables.of(reference).layout(page.inArena).pointee.load(ordering: .relaxed))
    require(
      !kind.isFree,
      "a reference leads to memory that was given back: a reference was probably kept where "
        + "the collector does not look; run with HEAP_CHECK=1 to find out which")
    return MarkTarget(object: reference, mark: MarkBit(of: reference), kind: kind)
  }

  /// Sets a target's mark bit, and queues its span if that made it grey.
  @inline(__always)
  private mutating func finish(_ target: MarkTarget) {
    // A plain test first: most references lead to what is marked already.
    guard !target.mark.isSet, !target.mark.testAndSet() else { return }
    let slotSize = target.kind.sizeClass.slotSize
    markedObjects &+= 1
    if slotSize != 0 && target.kind.isNoscan {
      markedBytes &+= slotSize
      return
    }
    let page = PageIndex(holding: target.object)
    let entry = unsafe PageEntry(
      bits: ArenaTables.of(target.object).entry(page.inArena).pointee.load(ordering: .relaxed))
    markedBytes &+= slotSize != 0 ? slotSize : Int(bitPattern: entry.span.slotSize)
    if !target.kind.isNoscan { enqueue(entry.span) }
  }

  /// See Note [Span queue].
  @inline(__always)
  mutating func enqueue(_ span: HeapSpan) {
    let queued = unsafe span.record
    guard unsafe !queued.pointee.queued.load(ordering: .sequentiallyConsistent),
      unsafe !queued.pointee.queued.exchange(true, ordering: .sequentiallyConsistent)
    else { return }
    local.append(span)
  }

  /// Finishes what is in the ring.
  package mutating func emptyRing() {
    for _ in 0..<Self.ringSize {
      let place = unsafe ring + ringPlace
      let target = unsafe place.pointee
      unsafe place.pointee.object = 0
      ringPlace = (ringPlace + 1) & (Self.ringSize - 1)
      if target.object != 0 { finish(target) }
    }
  }

  // MARK: - Sharing

  /// Spans that a marker keeps for itself. More means fewer visits to the shared queue, less
  /// means that others find work sooner and that the order is closer to first in, first out.
  static var share: Int { 32 }

  mutating func takeBatch() -> Bool {
    var taken = SpanList()
    let hasTaken = withShared { $0.queue.take(Self.share, into: &taken) }
    local.append(all: &taken)
    return hasTaken
  }

  /// Gives away what exceeds the marker's share.
  @inline(__always)
  mutating func shareSurplus() {
    if local.count > 2 * Self.share { shareSurplusSlow() }
  }

  @inline(never)
  private mutating func shareSurplusSlow() {
    var kept = SpanList()
    local.moveFirst(Self.share, to: &kept)
    var surplus = local
    local = kept
    withShared { $0.queue.put(&surplus) }
  }

  /// Gives half of what the marker has away: another one is idle.
  @inline(never)
  mutating func shareHalf() {
    var given = SpanList()
    local.moveFirst((local.count + 1) / 2, to: &given)
    withShared { $0.queue.put(&given) }
  }

  /// Leaves nothing behind: the ring is empty, all spans are in the shared queue, and the
  /// figures are the heap's. Whoever is about to answer a handshake or to sleep settles.
  package mutating func settle() {
    emptyRing()
    var spans = local
    local = SpanList()
    let (bytes, objects) = (markedBytes, markedObjects)
    (markedBytes, markedObjects, scannedBytes) = (0, 0, 0)
    guard objects > 0 || !spans.isEmpty else { return }
    withShared { shared in
      shared.noteWork()
      if objects > 0 { shared.countMarked(bytes: bytes, objects: objects) }
      shared.queue.put(&spans)
    }
  }
}
