// SPDX-License-Identifier: Apache-2.0
// Part of swift-managed-heap. See LICENSE.

// Words in no order: addresses that the collector goes through when marking has ended.
//
// They lie in blocks of 8 KiB, all of which are full but the last one. So adding a word never copies
// the others, and a bag of millions grows without a stop. Going through a bag keeps some of the
// words and forgets the rest: those that are kept move up, and the blocks at the end are freed.
//
// What the words lead to is spread over memory. So whoever goes through a bag is told of each word
// twice before its turn comes: first to fetch what it leads to, then to fetch what that leads to.
//
// Owner       whoever has the bag.

/// An unordered collection of words.
@safe struct WordBag: ~Copyable, @unchecked Sendable {
  // Sendable: the blocks are the bag's own.

  /// Words in a block. More wastes more in a small bag, less allocates more often.
  private static var blockSize: Int { 1024 }

  private var blocks: [UnsafeMutablePointer<UInt>] = unsafe []
  private(set) var count = 0

  init() {}

  deinit { for i in unsafe blocks.indices { unsafe blocks[i].deallocate() } }

  private subscript(_ index: Int) -> UInt {
    get { unsafe blocks[index / Self.blockSize][index % Self.blockSize] }
    nonmutating set { unsafe blocks[index / Self.blockSize][index % Self.blockSize] = newValue }
  }

  // MARK: - Adding

  /// - Complexity: O(1).
  mutating func append(_ word: UInt) {
    if unsafe count == blocks.count * Self.blockSize {
      unsafe blocks.append(.allocate(capacity: Self.blockSize))
    }
    self[count] = word
    count += 1
  }

  /// Everything that is in the bag, which is empty afterwards.
  mutating func takeAll() -> WordBag {
    let all = unsafe WordBag(blocks: blocks, count: count)
    unsafe (blocks, count) = ([], 0)
    return all
  }

  /// Adds everything that is in another bag, which is empty afterwards.
  ///
  /// - Complexity: O(1) if this bag is empty, else O(the other's count).
  mutating func add(_ other: inout WordBag) {
    if count == 0 { return swap(&self, &other) }
    other.forEach { append($0) }
    _ = other.takeAll()
  }

  private init(blocks: [UnsafeMutablePointer<UInt>], count: Int) {
    unsafe self.blocks = blocks
    self.count = count
  }

  // MARK: - Going through

  /// How many words ahead what a word leads to is fetched. More holds more of a cache, less waits for
  /// memory.
  private static var distance: Int { 16 }

  /// Keeps the words for which `isKept` answers true.
  ///
  /// - Parameters:
  ///   - fetch: called with a word some time before `follow` is.
  ///   - follow: called with it some time before `isKept` is.
  mutating func filter(
    fetch: (UInt) -> Void, follow: (UInt) -> Void, isKept: (UInt) -> Bool
  ) {
    let (near, far) = (Self.distance, 2 * Self.distance)
    var kept = 0
    for index in 0..<min(far, count) { fetch(self[index]) }
    for index in 0..<min(near, count) { follow(self[index]) }
    for index in 0..<count {
      if index + far < count { fetch(self[index + far]) }
      if index + near < count { follow(self[index + near]) }
      let word = self[index]
      guard isKept(word) else { continue }
      self[kept] = word
      kept += 1
    }
    count = kept
    let needed = (kept + Self.blockSize - 1) / Self.blockSize
    while unsafe blocks.count > needed { unsafe blocks.removeLast().deallocate() }
  }

  /// Calls `body` with each word.
  func forEach(_ body: (UInt) -> Void) {
    for index in 0..<count { body(self[index]) }
  }
}
