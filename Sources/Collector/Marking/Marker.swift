// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// A marker: turns references into marks, and marks into objects to scan.
//
// White objects have a clear mark bit. A marker that sets the bit makes the object grey, and has
// it: whoever finds the bit set has nothing to do. Grey objects wait on the marker's stack to be
// scanned; then they are black. A marker belongs to one thread at a time: a worker has one, and
// each mutator has one for its stack, its barrier buffer and its assists.
//
// Marking a random graph is waiting for memory, twice an object: for its mark bit, and for its
// fields. So there are two lines in which memory is fetched ahead of its use.
//
//     a field's reference → coming (16) → bit set? → stack → ahead (16) → fields read
//                           its bit is fetched               its first line is fetched
//
// The bit's address is arithmetic on the reference, so nothing else has to be in the cache on the
// way to it. Of an object that was white, the page's word says whether it has references, where
// they are, and how large it is. Objects without references are counted and never scanned.
//
// A marker that is about to let go (`settle`) finishes what is coming, and gives its grey objects
// to the shared store.
//
// Owner       the thread that marks.
// Ordering    See Note [Mark bits] in Documentation/MemoryOrdering.md.
// Scanning: Marker+Scan.swift

internal import CHeapShims
internal import Heap
internal import Synchronization

/// The marking state of one thread.
@safe package struct Marker: ~Copyable {
  /// References whose mark bits are being fetched.
  private var coming: FetchLine
  /// Grey objects whose memory is being fetched.
  var ahead: FetchLine
  private var stack = GreyStack()

  /// Bytes and objects marked, and bytes scanned, since `settle` added them to the heap's.
  package var markedBytes = 0
  package var markedObjects = 0
  package var scannedBytes = 0

  let owner: UInt
  /// Is told of every object that becomes marked (EphemeronTable). Nil: nobody is.
  private var watcher: Unmanaged<EphemeronWatcher>?
  /// Every reference is looked up before it is marked.
  let isChecked: Bool
  private let sharedReference: Unmanaged<SharedMarking>

  /// A marker of a heap. The heap ends after all of its markers.
  package init(_ shared: SharedMarking) {
    coming = FetchLine()
    ahead = FetchLine()
    owner = shared.owner
    isChecked = shared.check != nil
    unsafe watcher = nil
    unsafe sharedReference = Unmanaged.passUnretained(shared)
  }

  /// What the heap's markers share.
  @inline(__always)
  func withShared<Result>(_ body: (SharedMarking) -> Result) -> Result {
    // SAFETY: a heap outlives its markers. No reference is counted.
    unsafe sharedReference._withUnsafeGuaranteedRef(body)
  }

  // MARK: - Marking

  /// Marks the object that a heap word refers to.
  /// - Precondition: `reference` refers to an object of this heap; it is neither zero nor an
  ///   immediate (`ReferenceWord`).
  @inline(__always)
  package mutating func mark(_ reference: UInt) {
    heap_prefetch_write(MarkBit(of: reference).word)
    let oldest = coming.exchange(reference)
    if oldest != 0 { finish(oldest) }
  }

  /// Marks what a word refers to if it is the address of an allocated slot of this heap, or
  /// lies inside one; any word may be given.
  package mutating func markConservatively(_ word: UInt) {
    guard let (span, slot) = HeapSpan.lookUp(word, owner: owner) else { return }
    finish(span.address(ofSlot: slot))
  }

  /// Sets an object's mark bit, and puts the object on the stack if that made it grey.
  @inline(__always)
  private mutating func finish(_ object: UInt) {
    let bit = MarkBit(of: object)
    // A plain test first: most references lead to what is marked already.
    guard !bit.isSet, !bit.testAndSet() else { return }
    let page = PageLayout(of: object)
    // A broken reference may lead here and nowhere else for free.
    require(
      !page.isFree,
      "a reference leads to memory that was given back: a reference was probably kept where "
        + "the collector does not look; run with HEAP_CHECK=1 to find out which")
    markedObjects &+= 1
    let slotSize = page.sizeClass.slotSize
    markedBytes &+= slotSize != 0 ? slotSize : Int(bitPattern: HeapSpan(holding: object).slotSize)
    if !page.isNoscan { push(object) }
    if unsafe watcher != nil { tellWatcher(of: object) }
  }

  @inline(never)
  private func tellWatcher(of object: UInt) {
    unsafe watcher?._withUnsafeGuaranteedRef { $0.becameMarked(object) }
  }

  /// Tells a watcher of every object that becomes marked while `body` runs. It outlives the call.
  mutating func telling(_ watcher: EphemeronWatcher, _ body: (inout Marker) -> Void) {
    unsafe self.watcher = Unmanaged.passUnretained(watcher)
    body(&self)
    unsafe self.watcher = nil
  }

  // MARK: - Grey objects

  @inline(__always)
  mutating func push(_ object: UInt) {
    let shared = unsafe sharedReference
    stack.push(object, unsafe shared._withUnsafeGuaranteedRef { $0.grey })
  }

  /// The next grey object; nil when there is none here or in the shared store.
  @inline(__always)
  mutating func nextGrey() -> UInt? {
    while true {
      // The newest object goes in, and the oldest that is in comes out.
      if let object = popStack() {
        heap_prefetch(object)
        let oldest = ahead.exchange(object)
        if oldest != 0 { return oldest }
        continue
      }
      if let object = ahead.removeOldest() { return object }
      guard let reference = coming.removeOldest() else { return nil }
      finish(reference)
    }
  }

  @inline(__always)
  private mutating func popStack() -> UInt? {
    let shared = unsafe sharedReference
    return stack.pop(unsafe shared._withUnsafeGuaranteedRef { $0.grey })
  }

  /// Grey objects in hand.
  package var greyCount: Int { stack.count + ahead.count }

  // MARK: - Sharing

  /// Gives some of what the marker has away: another one is idle.
  @inline(never)
  mutating func share() {
    stack.giveSome(to: withShared { $0.grey })
  }

  /// Sets the bits of all references that are coming.
  package mutating func finishComing() {
    while let reference = coming.removeOldest() { finish(reference) }
  }

  /// Leaves nothing behind: nothing is coming, all grey objects are in the shared store, and the
  /// figures are the heap's. Whoever is about to answer a handshake or to sleep settles.
  package mutating func settle() {
    finishComing()
    while let object = ahead.removeOldest() { push(object) }
    let (bytes, objects, hasGrey) = (markedBytes, markedObjects, !stack.isEmpty)
    (markedBytes, markedObjects, scannedBytes) = (0, 0, 0)
    let store = withShared { shared in
      if objects > 0 || hasGrey { shared.noteWork() }
      if objects > 0 { shared.countMarked(bytes: bytes, objects: objects) }
      return shared.grey
    }
    stack.giveAll(to: store)
  }
}
